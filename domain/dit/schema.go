package dit

import "strings"

// Syntax says how the values of an attribute are written and compared
// ([MS-ADTS] §3.1.1.2.2.4).
type Syntax uint8

// The syntaxes, each with the form of its values in an [Entry].
const (
	// DirectoryString is UTF-8 that compares without case.
	DirectoryString Syntax = iota
	// CaseExactString is a string that compares byte by byte: AD's IA5,
	// Printable, Numeric and case-sensitive strings.
	CaseExactString
	// Integer is a decimal number of 32 bits, signed.
	Integer
	// LargeInteger is a decimal number of 64 bits, signed.
	LargeInteger
	// Boolean is TRUE or FALSE.
	Boolean
	// OctetString is any bytes.
	OctetString
	// GUIDString is a GUID's 16 bytes in the order of [MS-DTYP] §2.3.4.2.
	GUIDString
	// SIDString is a SID in its binary form.
	SIDString
	// DNString is a distinguished name.
	DNString
	// DNBinary is B:length:hex:DN or S:length:text:DN.
	DNBinary
	// OIDString is an object identifier, or the name of a class or attribute.
	OIDString
	// GeneralizedTime is YYYYMMDDHHMMSS.0Z.
	GeneralizedTime
	// SecurityDescriptor is a self-relative one; it only matches presence.
	SecurityDescriptor
)

// AttrType describes an attribute. There is one AttrType for each attribute, so
// pointers compare.
type AttrType struct {
	Name   string
	OID    string // "" where none is published
	Syntax Syntax
	Single bool
	// Operational attributes are returned only to a client that names them.
	Operational bool
	// Computed attributes are asked of Links first, and of the entry when that
	// knows nothing.
	Computed bool
	// Constructed attributes are computed and operational. In a filter they are
	// undefined: evaluating tokenGroups for every entry of a search is work
	// that one small packet must not be able to order.
	Constructed bool
	// Secret attributes are never read, matched, compared or sorted by, whoever
	// asks: every answer is the one for an entry that lacks them
	// (CVE-2018-10919, CVE-2023-0614).
	Secret bool
	// Index is the attribute's place in the schema, from 0 and dense.
	Index int
}

// Class describes an object class.
type Class struct {
	Name string
	OID  string
	// Super is the name of the class above; that of "top" is "top".
	Super string
	// Category is the name of the class's default category: entries carry
	// CN=Category,CN=Schema,CN=Configuration,… as their objectCategory.
	Category string
	// RDN is the attribute that names entries of the class.
	RDN string

	chain []string
}

// Chain returns the class and all above it, from top downwards, as they stand
// in an entry's objectClass. The caller must not change it.
func (c *Class) Chain() []string { return c.chain }

// maxName is more than the longest attribute or class name and identifier.
const maxName = 64

var (
	// By lower-case name and by object identifier. An importer's package
	// variables may already look things up: var cn = dit.Attr("cn").
	attrMap, classes = load()
	attrTypes        = byIndex()

	objectClass    = Attr("objectClass")
	objectCategory = Attr("objectCategory")
)

func load() (attrMap map[string]*AttrType, classes map[string]*Class) {
	attrs := make([]AttrType, len(attrRows))
	attrMap = make(map[string]*AttrType, 2*len(attrRows))
	classes = make(map[string]*Class, 2*len(classRows))
	for i, row := range attrRows {
		t := &attrs[i]
		*t = AttrType{
			Name: row.name, OID: row.oid, Syntax: row.syntax, Index: i,
			Single:      row.flags&single != 0,
			Operational: row.flags&(operational|constructed) != 0,
			Computed:    row.flags&(computed|constructed) != 0,
			Constructed: row.flags&constructed != 0,
			Secret:      row.flags&secret != 0,
		}
		attrMap[strings.ToLower(t.Name)] = t
		if t.OID != "" {
			attrMap[t.OID] = t
		}
	}
	for i := range classRows {
		c := &classRows[i]
		classes[strings.ToLower(c.Name)] = c
		classes[c.OID] = c
	}
	for i := range classRows {
		classRows[i].chain = chain(classes, &classRows[i])
	}
	return attrMap, classes
}

func byIndex() []*AttrType {
	list := make([]*AttrType, len(attrRows))
	for _, t := range attrMap {
		list[t.Index] = t
	}
	return list
}

func chain(classes map[string]*Class, c *Class) []string {
	if c.Super == c.Name {
		return []string{c.Name}
	}
	above := chain(classes, classes[strings.ToLower(c.Super)])
	return append(above[:len(above):len(above)], c.Name)
}

// Attr finds an attribute by its name, without regard to case, or by its object
// identifier; nil when there is none.
func Attr(name string) *AttrType { return lookup(attrMap, name) }

// AttrBytes is [Attr] for a name that still lies in a packet.
func AttrBytes(name []byte) *AttrType { return lookup(attrMap, name) }

// Computed returns the computed attributes that a client gets without naming
// them: those of which an entry may have values that it does not hold.
func Computed() []*AttrType {
	var list []*AttrType
	for i := range attrRows {
		if t := Attr(attrRows[i].name); t.Computed && !t.Operational {
			list = append(list, t)
		}
	}
	return list
}

// ClassByName finds an object class by name or object identifier, or returns nil.
func ClassByName(name string) *Class { return lookup(classes, name) }

// lookup lowers the name in a buffer on the stack: no allocation, hit or miss.
func lookup[S ~string | ~[]byte, V any](m map[string]*V, name S) *V {
	var buf [maxName]byte
	if len(name) > len(buf) {
		return nil
	}
	for i := 0; i < len(name); i++ {
		buf[i] = lower(name[i])
	}
	return m[string(buf[:len(name)])]
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
