package agent

import (
	"errors"
	"slices"
	"strconv"

	"github.com/oiweiwei/go-msrpc/msrpc/drsr/drsuapi/v4"

	"skyrealm/cred"
)

// maxPrefixes bounds the table of a reply; Windows has some forty.
const maxPrefixes = 4096

// maxPointers is how many pointers a reply may have. Samba numbers them modulo
// 32,768, and the library takes two of one number for the same.
const maxPointers = 32_000

// errPage: a reply has more.
var errPage = errors.New("agent: a reply is too large")

// pointers counts those of a reply.
func pointers(reply *drsuapi.MessageGetNCChangesReplyV6) int {
	n := 8 + len(reply.Values)*3
	if reply.PrefixTableSource != nil {
		n += 2 * len(reply.PrefixTableSource.PrefixEntry)
	}
	for e := reply.Objects; e != nil; e = e.NextEntityInfo {
		n += 5
		if e.EntityInfo == nil || e.EntityInfo.AttributeBlock == nil {
			continue
		}
		for _, a := range e.EntityInfo.AttributeBlock.Attribute {
			if n++; a != nil && a.AttributeValue != nil {
				n += len(a.AttributeValue.Values)
			}
		}
		if n > maxPointers {
			break // the list itself may run in a circle
		}
	}
	return n
}

// namer turns the numbers that a reply has for attributes and classes into OIDs,
// by the table that comes with it ([MS-DRSR] §5.16.4): no DC's numbers are
// another's.
type namer struct {
	table drsuapi.PrefixTable
	known map[uint32]string
}

func newNamer(reply *drsuapi.MessageGetNCChangesReplyV6) (*namer, error) {
	t := reply.PrefixTableSource
	if t == nil || len(t.PrefixEntry) > maxPrefixes {
		return nil, malformed("no table of prefixes, or far too large a one")
	}
	for _, e := range t.PrefixEntry {
		if e == nil || e.Prefix == nil {
			return nil, malformed("a prefix that is none")
		}
	}
	return &namer{table: t.Build(), known: map[uint32]string{}}, nil
}

func (n *namer) oid(number uint32) string {
	name, ok := n.known[number]
	if !ok {
		if oid, err := n.table.AttributeToOID(number); err == nil {
			name = oid.String()
		}
		n.known[number] = name
	}
	return name
}

// page reads a reply.
func (s *session) page(reply *drsuapi.MessageGetNCChangesReplyV6) (page, error) {
	p := page{total: int(reply.NCSizeObjectsCount)}
	if pointers(reply) > maxPointers {
		return p, errPage
	}
	names, err := newNamer(reply)
	if err != nil {
		return p, err
	}
	for e := reply.Objects; e != nil; e = e.NextEntityInfo {
		c, err := s.object(names, e)
		if err != nil {
			return p, err
		}
		p.changes = append(p.changes, c)
	}
	for _, v := range reply.Values {
		if v == nil || v.Object == nil || v.Aval == nil {
			return p, malformed("a link without ends")
		}
		a := attributes[names.oid(v.AttributeType)]
		if a.syntax != linked {
			continue
		}
		to, err := linkTarget(v.Aval.Value)
		if err != nil {
			return p, err
		}
		p.links = append(p.links, link{from: guidOf(v.Object.GUID), to: to, attr: a.name, present: v.IsPresent})
	}
	return p, nil
}

func (s *session) object(names *namer, e *drsuapi.ReplicationEntityInfoList) (change, error) {
	if e.EntityInfo == nil || e.EntityInfo.Name == nil || e.EntityInfo.Name.GUID.IsZero() {
		return change{}, malformed("an object without a name")
	}
	c := change{guid: guidOf(e.EntityInfo.Name.GUID), dn: e.EntityInfo.Name.StringName, attrs: map[string][]string{}}
	if e.EntityInfo.AttributeBlock == nil {
		return c, nil
	}
	rid := ridOf(e.EntityInfo.Name.SID)
	var hash, supplemental []byte
	for i, a := range e.EntityInfo.AttributeBlock.Attribute {
		if a == nil {
			return c, malformed("an attribute that is none")
		}
		known, ok := attributes[names.oid(a.AttributeType)]
		if !ok {
			continue
		}
		var values [][]byte
		if a.AttributeValue != nil {
			for _, v := range a.AttributeValue.Values {
				if v == nil {
					return c, malformed("a value that is none")
				}
				values = append(values, v.Value)
			}
		}
		if known.name == "unicodePwd" && e.MetadataExt != nil && i < len(e.MetadataExt.Metadata) {
			m := e.MetadataExt.Metadata[i]
			c.version, c.changed = m.Version, dsTime(m.TimeChanged)
		}
		switch known.syntax {
		case secret:
			if len(values) == 0 {
				break
			}
			if known.name == "unicodePwd" {
				hash = values[0]
			} else {
				supplemental = values[0]
			}
			continue
		case classes:
			var oids []string
			for _, v := range values {
				n, err := decodeValue(integer, v)
				if err != nil {
					return c, err
				}
				number, _ := strconv.ParseInt(n, 10, 64)
				oids = append(oids, names.oid(uint32(number)))
			}
			c.class = classOf(oids)
			continue
		case linked:
			if len(values) == 0 {
				c.cleared = append(c.cleared, known.name)
			}
			for _, v := range values {
				to, err := linkTarget(v)
				if err != nil {
					return c, err
				}
				c.links = append(c.links, link{c.guid, to, known.name, true})
			}
			continue
		}
		out := make([]string, 0, len(values))
		for _, v := range values {
			one, err := decodeValue(known.syntax, v)
			if err != nil {
				return c, err
			}
			out = append(out, one)
		}
		c.attrs[known.name] = out
	}
	c.deleted = slices.Equal(c.attrs["isDeleted"], []string{"1"})
	if len(hash) > 0 && !c.deleted {
		var err error
		if c.legacy, c.noKeys, err = s.password(rid, hash, supplemental); err != nil {
			return c, err
		}
	}
	return c, nil
}

// password opens what the DC sealed for this connection ([MS-DRSR] §4.1.10.6.12;
// the NT hash has a layer of DES under the RID besides, [MS-SAMR] §2.2.11.1).
// Keys that can't be read are no reason to go without the NT hash.
func (s *session) password(rid uint32, hash, supplemental []byte) (legacy cred.Legacy, noKeys, err error) {
	plain, err := drsuapi.DecryptHash(s.client.Conn().Context(), rid, hash)
	if err != nil {
		return cred.Legacy{}, nil, malformed("a password that can't be opened")
	}
	nt, err := cred.ParseNTHash(plain)
	clear(plain)
	if err != nil {
		return cred.Legacy{}, nil, malformed("a password of a wrong length")
	}
	if len(supplemental) == 0 {
		return cred.Legacy{NT: nt}, errors.New("the directory keeps none"), nil
	}
	keys, err := drsuapi.DecryptData(s.client.Conn().Context(), supplemental)
	if err != nil {
		return cred.Legacy{NT: nt}, malformed("keys that can't be opened"), nil
	}
	defer clear(keys)
	legacy, err = cred.LegacyFrom(nt, keys)
	if err != nil {
		return cred.Legacy{NT: nt}, err, nil
	}
	return legacy, nil, nil
}

// ridOf is the last part of an object's SID, under which its hash is encrypted.
func ridOf(s *drsuapi.NT4SID) uint32 {
	if s == nil {
		return 0
	}
	id, err := s.SID()
	if err != nil || id == nil || len(id.SubAuthority) == 0 {
		return 0
	}
	return id.SubAuthority[len(id.SubAuthority)-1]
}
