package nbfx

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Record types ([MC-NBFX] §2.1.1). Of text records these are the even ones; the
// odd one above each ends the element as well.
const (
	endElement = 0x01
	comment    = 0x02
	array      = 0x03

	shortAttribute      = 0x04
	attribute           = 0x05
	shortDictAttribute  = 0x06
	dictAttribute       = 0x07
	shortXmlns          = 0x08
	xmlns               = 0x09
	shortDictXmlns      = 0x0A
	dictXmlns           = 0x0B
	prefixDictAttribute = 0x0C // to 0x25, one for each letter
	prefixAttribute     = 0x26 // to 0x3F

	shortElement      = 0x40
	element           = 0x41
	shortDictElement  = 0x42
	dictElement       = 0x43
	prefixDictElement = 0x44 // to 0x5D
	prefixElement     = 0x5E
	lastElement       = 0x77

	zero        = 0x80
	one         = 0x82
	falseText   = 0x84
	trueText    = 0x86
	int8Text    = 0x88
	int16Text   = 0x8A
	int32Text   = 0x8C
	int64Text   = 0x8E
	floatText   = 0x90
	doubleText  = 0x92
	decimalText = 0x94
	dateTime    = 0x96
	chars8      = 0x98
	chars16     = 0x9A
	chars32     = 0x9C
	bytes8      = 0x9E
	bytes16     = 0xA0
	bytes32     = 0xA2
	startList   = 0xA4
	endList     = 0xA6
	emptyText   = 0xA8
	dictText    = 0xAA
	uniqueID    = 0xAC
	timeSpan    = 0xAE
	uuidText    = 0xB0
	uint64Text  = 0xB2
	boolText    = 0xB4
	unicode8    = 0xB6
	unicode16   = 0xB8
	unicode32   = 0xBA
	qnameText   = 0xBC
	lastText    = 0xBD
)

// A Value is the text of an attribute or a piece of an element's, as the record
// that carried it.
type Value struct {
	kind byte
	raw  []byte // the record's data without its length; of a list, its records
}

// fixed is the size of a text record's data where the type decides it.
func fixed(kind byte) (size int, ok bool) {
	switch kind {
	case zero, one, falseText, trueText, emptyText:
		return 0, true
	case int8Text, boolText:
		return 1, true
	case int16Text:
		return 2, true
	case int32Text, floatText:
		return 4, true
	case int64Text, doubleText, dateTime, timeSpan, uint64Text:
		return 8, true
	case decimalText, uniqueID, uuidText:
		return 16, true
	}
	return 0, false
}

// lengthSize is the size of the length before the data of a counted record. The
// text of [MC-NBFX] §2.2.3.29 says MultiByteInt31 for UnicodeChars32; its
// example in §3 and .NET say four bytes.
func lengthSize(kind byte) int {
	switch kind {
	case chars8, bytes8, unicode8:
		return 1
	case chars16, bytes16, unicode16:
		return 2
	case chars32, bytes32, unicode32:
		return 4
	}
	return 0
}

func (v Value) isBytes() bool { return v.kind == bytes8 || v.kind == bytes16 || v.kind == bytes32 }

// Text is the value as XML would have it: base64 of bytes, decimal numbers,
// "true" or "false", lower-case UUIDs, xsd:dateTime, xsd:duration.
func (v Value) Text() string {
	raw, le := v.raw, binary.LittleEndian
	switch v.kind {
	case zero:
		return "0"
	case one:
		return "1"
	case falseText:
		return "false"
	case trueText:
		return "true"
	case int8Text:
		return strconv.Itoa(int(int8(raw[0])))
	case int16Text:
		return strconv.Itoa(int(int16(le.Uint16(raw))))
	case int32Text:
		return strconv.Itoa(int(int32(le.Uint32(raw))))
	case int64Text:
		return strconv.FormatInt(int64(le.Uint64(raw)), 10)
	case uint64Text:
		return strconv.FormatUint(le.Uint64(raw), 10)
	case floatText:
		return floating(float64(math.Float32frombits(le.Uint32(raw))), 32, 7)
	case doubleText:
		return floating(math.Float64frombits(le.Uint64(raw)), 64, 15)
	case decimalText:
		return decimal(raw)
	case dateTime:
		return dateTimeText(le.Uint64(raw))
	case timeSpan:
		return durationText(int64(le.Uint64(raw)))
	case chars8, chars16, chars32:
		return string(raw)
	case unicode8, unicode16, unicode32:
		return fromUTF16(raw)
	case bytes8, bytes16, bytes32:
		return base64.StdEncoding.EncodeToString(raw)
	case dictText:
		return wordOf(raw)
	case qnameText:
		return string([]byte{'a' + raw[0], ':'}) + wordOf(raw[1:])
	case uuidText:
		return uuid(raw)
	case uniqueID:
		return "urn:uuid:" + uuid(raw)
	case boolText:
		return strconv.FormatBool(raw[0] == 1)
	case startList:
		return listText(raw)
	}
	return "" // EmptyText, a comment, the zero Value
}

// Comment is the text of a comment.
func (v Value) Comment() (text string, ok bool) {
	if v.kind != comment {
		return "", false
	}
	return string(v.raw), true
}

// wordOf reads an id that decoding has checked.
func wordOf(raw []byte) string {
	r := reader{b: raw}
	id, _ := r.int31()
	w, _ := word(id)
	return w
}

// listText joins the items by one space ([MC-NBFX] §2.2.3.19).
func listText(raw []byte) string {
	var b strings.Builder
	r := reader{b: raw, limits: Limits{String: math.MaxInt}}
	for first := true; r.at < len(raw); first = false {
		item, err := r.text(raw[r.next()])
		if err != nil {
			return "" // decoding has read the same bytes
		}
		if !first {
			b.WriteByte(' ')
		}
		b.WriteString(item.Text())
	}
	return b.String()
}

// fromUTF16 takes what validUTF16 has passed.
func fromUTF16(raw []byte) string {
	b := make([]byte, 0, len(raw)/2)
	for i := 0; i < len(raw); i += 2 {
		r := rune(binary.LittleEndian.Uint16(raw[i:]))
		if utf16.IsSurrogate(r) {
			i += 2
			r = utf16.DecodeRune(r, rune(binary.LittleEndian.Uint16(raw[i:])))
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

func validUTF16(raw []byte) bool {
	if len(raw)%2 != 0 {
		return false
	}
	for i := 0; i < len(raw); i += 2 {
		switch c := binary.LittleEndian.Uint16(raw[i:]); {
		case c < 0xD800 || c >= 0xE000:
		case c >= 0xDC00 || i+4 > len(raw) || binary.LittleEndian.Uint16(raw[i+2:])&0xFC00 != 0xDC00:
			return false
		default:
			i += 2
		}
	}
	return true
}

// floating prints the shortest digits that read back as the same number, with
// an exponent where .NET uses one: from 10^digits, and below 10^-5 ([MC-NBFX]
// §2.2.3.9 leaves the place open).
func floating(f float64, bits, digits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "INF"
	case math.IsInf(f, -1):
		return "-INF"
	}
	s := strconv.FormatFloat(f, 'E', -1, bits)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'E')+1:])
	if exp >= -5 && exp < digits {
		return strconv.FormatFloat(f, 'f', -1, bits)
	}
	return s
}

// decimal reads a DECIMAL ([MS-OAUT] §2.2.26): two reserved bytes, scale, sign,
// the high 32 bits, the low 64.
func decimal(raw []byte) string {
	n := new(big.Int).SetUint64(uint64(binary.LittleEndian.Uint32(raw[4:])))
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(binary.LittleEndian.Uint64(raw[8:])))
	s := n.String()
	if scale := int(raw[2]); scale > 0 {
		if pad := scale + 1 - len(s); pad > 0 {
			s = strings.Repeat("0", pad) + s
		}
		s = s[:len(s)-scale] + "." + s[len(s)-scale:]
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if raw[3] != 0 && s != "0" {
		return "-" + s
	}
	return s
}

func validDecimal(raw []byte) bool { return raw[2] <= 28 && raw[3]&0x7F == 0 }

const (
	ticksPerSecond = 10_000_000
	// maxTicks is the first moment of the year 10000 ([MC-NBFX] §2.2.3.12).
	maxTicks = 3155378976000000000
	tickMask = 1<<62 - 1
)

// unixTicks are the ticks from 0001-01-01 to 1970-01-01.
const unixTicks = 621355968000000000

func validDateTime(v uint64) bool { return v&tickMask < maxTicks && v>>62 < 3 }

// dateTimeText prints an xsd:dateTime. [MC-NBFX] §2.2.3.12 drops a time of
// midnight; its examples in §3 and .NET print it, and xsd wants it. A local time
// travels as its UTC ticks and is to be printed in the zone of who decodes:
// ours is UTC.
func dateTimeText(v uint64) string {
	ticks := int64(v&tickMask) - unixTicks
	s, rest := ticks/ticksPerSecond, ticks%ticksPerSecond
	text := time.Unix(s, rest*100).UTC().Format("2006-01-02T15:04:05.9999999")
	if v>>62 != 0 {
		text += "Z"
	}
	return text
}

// durationText prints an xsd:duration, as .NET and the examples of [MC-NBFX] §3
// do; §2.2.3.23 describes another form that nobody sends or reads.
func durationText(ticks int64) string {
	if ticks == 0 {
		return "PT0S"
	}
	sign, n := "P", uint64(ticks)
	if ticks < 0 {
		sign, n = "-P", -n // the least of them too
	}
	var b strings.Builder
	b.WriteString(sign)
	unit := func(size uint64, letter byte) {
		if n >= size {
			b.WriteString(strconv.FormatUint(n/size, 10))
			b.WriteByte(letter)
			n %= size
		}
	}
	unit(24*3600*ticksPerSecond, 'D')
	if n > 0 {
		b.WriteByte('T')
	}
	unit(3600*ticksPerSecond, 'H')
	unit(60*ticksPerSecond, 'M')
	if n > 0 {
		s := fmt.Sprintf("%d.%07d", n/ticksPerSecond, n%ticksPerSecond)
		b.WriteString(strings.TrimRight(strings.TrimRight(s, "0"), "."))
		b.WriteByte('S')
	}
	return b.String()
}

// uuid prints a GUID: three little-endian numbers, then eight bytes ([MC-NBFX]
// §2.2.3.24).
func uuid(raw []byte) string {
	g := [16]byte{raw[3], raw[2], raw[1], raw[0], raw[5], raw[4], raw[7], raw[6]}
	copy(g[8:], raw[8:])
	b := make([]byte, 0, 36)
	for i, part := range [][]byte{g[:4], g[4:6], g[6:8], g[8:10], g[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return string(b)
}

// fromBase64 takes the white space that xsd:base64Binary allows.
func fromBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, " \t\r\n") {
		s = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(s)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil { // its text would quote the place, and the caller's log the rest
		return nil, fmt.Errorf("%w: not base64", ErrMalformed)
	}
	return b, nil
}

const redacted = "[redacted]"

// String tells nothing of the value; Text does.
func (v Value) String() string { return redacted }

// GoString is String.
func (v Value) GoString() string { return redacted }

// Format keeps every verb from the content.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is String.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON is String.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
