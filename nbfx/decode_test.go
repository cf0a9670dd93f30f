package nbfx

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// render prints a tree as the examples of the specification do.
func render(e *Element) string {
	var b strings.Builder
	renderTo(&b, e)
	return b.String()
}

func renderTo(b *strings.Builder, e *Element) {
	name := func(prefix, local string) string {
		if prefix != "" {
			return prefix + ":" + local
		}
		return local
	}
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace
	b.WriteString("<" + name(e.Prefix, e.Local))
	for _, a := range e.Attrs {
		fmt.Fprintf(b, ` %s="%s"`, name(a.Prefix, a.Local), escape(a.Value.Text()))
	}
	b.WriteString(">")
	for _, n := range e.Nodes {
		if c, ok := n.Value.Comment(); ok {
			b.WriteString("<!--" + c + "-->")
		} else if n.Element != nil {
			renderTo(b, n.Element)
		} else {
			b.WriteString(escape(n.Value.Text()))
		}
	}
	b.WriteString("</" + name(e.Prefix, e.Local) + ">")
}

// examples are the documents of [MC-NBFX] §3. Where the specification prints
// strN for an id whose meaning it leaves open, the static dictionary decides.
var examples = []struct{ record, hex, expect string }{
	{"EndElement", "40 03 64 6F 63 01", "<doc></doc>"},
	{"Comment", "40 03 64 6F 63 02 07 63 6F 6D 6D 65 6E 74 01", "<doc><!--comment--></doc>"},
	{"Array", "40 01 78 03 40 03 61 72 72 01 8B 03 33 33 88 88 DD DD 01", "<x><arr>13107</arr><arr>-30584</arr><arr>-8739</arr></x>"},
	{"ShortAttribute", "40 03 64 6F 63 04 04 61 74 74 72 84 01", `<doc attr="false"></doc>`},
	{"Attribute", "40 03 64 6F 63 09 03 70 72 65 0A 68 74 74 70 3A 2F 2F 61 62 63 05 03 70 72 65 04 61 74 74 72 84 01", `<doc xmlns:pre="http://abc" pre:attr="false"></doc>`},
	{"ShortDictionaryAttribute", "40 03 64 6F 63 06 08 86 01", `<doc Header="true"></doc>`},
	{"DictionaryAttribute", "40 03 64 6F 63 09 03 70 72 65 0A 68 74 74 70 3A 2F 2F 61 62 63 07 03 70 72 65 00 86 01", `<doc xmlns:pre="http://abc" pre:mustUnderstand="true"></doc>`},
	{"ShortXmlnsAttribute", "40 03 64 6F 63 08 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<doc xmlns="http://abc"></doc>`},
	{"XmlnsAttribute", "40 03 64 6F 63 09 01 70 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<doc xmlns:p="http://abc"></doc>`},
	{"ShortDictionaryXmlnsAttribute", "40 03 64 6F 63 0A 04 01", `<doc xmlns="http://www.w3.org/2003/05/soap-envelope"></doc>`},
	{"DictionaryXmlnsAttribute", "40 03 64 6F 63 0B 01 70 04 01", `<doc xmlns:p="http://www.w3.org/2003/05/soap-envelope"></doc>`},
	{"PrefixDictionaryAttributeF", "40 03 64 6F 63 09 01 66 0A 68 74 74 70 3A 2F 2F 61 62 63 11 0A 98 05 68 65 6C 6C 6F 01", `<doc xmlns:f="http://abc" f:Action="hello"></doc>`},
	{"PrefixDictionaryAttributeX", "40 03 64 6F 63 09 01 78 0A 68 74 74 70 3A 2F 2F 61 62 63 23 16 98 05 77 6F 72 6C 64 01", `<doc xmlns:x="http://abc" x:URI="world"></doc>`},
	{"PrefixAttributeK", "40 03 64 6F 63 09 01 6B 0A 68 74 74 70 3A 2F 2F 61 62 63 30 04 61 74 74 72 86 01", `<doc xmlns:k="http://abc" k:attr="true"></doc>`},
	{"PrefixAttributeZ", "40 03 64 6F 63 09 01 7A 0A 68 74 74 70 3A 2F 2F 61 62 63 3F 03 61 62 63 98 03 78 79 7A 01", `<doc xmlns:z="http://abc" z:abc="xyz"></doc>`},
	{"ShortElement", "40 03 64 6F 63 01", "<doc></doc>"},
	{"Element", "41 03 70 72 65 03 64 6F 63 09 03 70 72 65 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<pre:doc xmlns:pre="http://abc"></pre:doc>`},
	{"ShortDictionaryElement", "42 0E 01", "<Body></Body>"},
	{"DictionaryElement", "43 03 70 72 65 0E 09 03 70 72 65 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<pre:Body xmlns:pre="http://abc"></pre:Body>`},
	{"PrefixDictionaryElementA", "44 0A 09 01 61 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<a:Action xmlns:a="http://abc"></a:Action>`},
	{"PrefixDictionaryElementS", "56 26 09 01 73 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<s:DigestMethod xmlns:s="http://abc"></s:DigestMethod>`},
	{"PrefixElementA", "5E 05 68 65 6C 6C 6F 09 01 61 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<a:hello xmlns:a="http://abc"></a:hello>`},
	{"PrefixElementS", "70 09 4D 79 4D 65 73 73 61 67 65 09 01 73 0A 68 74 74 70 3A 2F 2F 61 62 63 01", `<s:MyMessage xmlns:s="http://abc"></s:MyMessage>`},
	{"ZeroText", "40 03 64 6F 63 06 A0 03 80 01", `<doc RequestType="0"></doc>`},
	{"ZeroTextWithEndElement", "40 03 61 62 63 81", "<abc>0</abc>"},
	{"OneText", "40 03 64 6F 63 06 00 82 01", `<doc mustUnderstand="1"></doc>`},
	{"OneTextWithEndElement", "40 03 61 62 63 83", "<abc>1</abc>"},
	{"FalseText", "40 03 64 6F 63 06 00 84 01", `<doc mustUnderstand="false"></doc>`},
	{"FalseTextWithEndElement", "40 03 61 62 63 85", "<abc>false</abc>"},
	{"TrueText", "40 03 64 6F 63 06 00 86 01", `<doc mustUnderstand="true"></doc>`},
	{"TrueTextWithEndElement", "40 03 61 62 63 87", "<abc>true</abc>"},
	{"Int8Text", "40 03 64 6F 63 06 EC 01 88 DE 01", `<doc Offset="-34"></doc>`},
	{"Int8TextWithEndElement", "42 9A 01 89 7F", "<Value>127</Value>"},
	{"Int16Text", "40 03 64 6F 63 06 EC 01 8A 00 80 01", `<doc Offset="-32768"></doc>`},
	{"Int16TextWithEndElement", "42 9A 01 8B FF 7F", "<Value>32767</Value>"},
	{"Int32Text", "40 03 64 6F 63 06 EC 01 8C 15 CD 5B 07 01", `<doc Offset="123456789"></doc>`},
	{"Int32TextWithEndElement", "42 9A 01 8D FF FF FF 7F", "<Value>2147483647</Value>"},
	{"Int64Text", "40 03 64 6F 63 06 EC 01 8E 00 00 00 80 00 00 00 00 01", `<doc Offset="2147483648"></doc>`},
	{"Int64TextWithEndElement", "42 9A 01 8F 00 00 00 00 00 01 00 00", "<Value>1099511627776</Value>"},
	{"FloatText", "40 03 64 6F 63 04 01 61 90 CD CC 8C 3F 01", `<doc a="1.1"></doc>`},
	{"FloatTextWithEndElement", "40 05 50 72 69 63 65 91 CD CC 01 42", "<Price>32.45</Price>"},
	{"DoubleText", "40 03 64 6F 63 04 01 61 92 74 57 14 8B 0A BF 05 40 01", `<doc a="2.71828182845905"></doc>`},
	{"DoubleTextWithEndElement", "40 02 50 49 93 11 2D 44 54 FB 21 09 40", "<PI>3.14159265358979</PI>"},
	{"DecimalText", "40 03 64 6F 63 04 03 69 6E 74 94 00 00 06 00 00 00 00 00 80 2D 4E 00 00 00 00 00 01", `<doc int="5.123456"></doc>`},
	{"DecimalTextWithEndElement", "40 08 4D 61 78 56 61 6C 75 65 95 00 00 00 00 FF FF FF FF FF FF FF FF FF FF FF FF", "<MaxValue>79228162514264337593543950335</MaxValue>"},
	{"DateTimeText", "40 03 64 6F 63 06 6E 96 FF 3F 37 F4 75 28 CA 2B 01", `<doc Expires="9999-12-31T23:59:59.9999999"></doc>`},
	{"DateTimeTextWithEndElement", "42 6C 97 00 40 8E F9 5B 47 C8 08", "<Created>2006-05-17T00:00:00</Created>"},
	{"Chars8Text", "40 03 64 6F 63 98 05 68 65 6C 6C 6F 01", "<doc>hello</doc>"},
	{"Chars8TextWithEndElement", "40 01 61 99 05 68 65 6C 6C 6F", "<a>hello</a>"},
	{"Chars16Text", "40 03 64 6F 63 9A 05 00 68 65 6C 6C 6F 01", "<doc>hello</doc>"},
	{"Chars16TextWithEndElement", "40 01 61 9B 05 00 68 65 6C 6C 6F", "<a>hello</a>"},
	{"Chars32Text", "40 03 64 6F 63 9C 05 00 00 00 68 65 6C 6C 6F 01", "<doc>hello</doc>"},
	{"Chars32TextWithEndElement", "40 01 61 9D 05 00 00 00 68 65 6C 6C 6F", "<a>hello</a>"},
	{"Bytes8Text", "40 03 64 6F 63 9E 08 00 01 02 03 04 05 06 07 01", "<doc>AAECAwQFBgc=</doc>"},
	{"Bytes8TextWithEndElement", "40 06 42 61 73 65 36 34 9F 08 00 01 02 03 04 05 06 07", "<Base64>AAECAwQFBgc=</Base64>"},
	{"Bytes16Text", "40 03 64 6F 63 A0 08 00 00 01 02 03 04 05 06 07 01", "<doc>AAECAwQFBgc=</doc>"},
	{"Bytes16TextWithEndElement", "40 06 42 61 73 65 36 34 A1 08 00 00 01 02 03 04 05 06 07", "<Base64>AAECAwQFBgc=</Base64>"},
	{"Bytes32Text", "40 03 64 6F 63 A2 08 00 00 00 00 01 02 03 04 05 06 07 01", "<doc>AAECAwQFBgc=</doc>"},
	{"Bytes32TextWithEndElement", "40 06 42 61 73 65 36 34 A3 08 00 00 00 00 01 02 03 04 05 06 07", "<Base64>AAECAwQFBgc=</Base64>"},
	{"StartListText, EndListText", "40 03 64 6F 63 04 01 61 A4 88 7B 98 05 68 65 6C 6C 6F 86 A6 01", `<doc a="123 hello true"></doc>`},
	{"EndListTextWithEndElement", "40 03 64 6F 63 A4 86 84 80 82 A7", "<doc>true false 0 1</doc>"},
	{"EmptyText", "40 03 64 6F 63 04 01 61 A8 01", `<doc a=""></doc>`},
	{"EmptyTextWithEndElement", "40 03 64 6F 63 A9", "<doc></doc>"},
	{"DictionaryText", "40 03 64 6F 63 04 02 6E 73 AA 38 01", `<doc ns="http://schemas.microsoft.com/ws/2006/05/rm"></doc>`},
	{"DictionaryTextWithEndElement", "40 04 54 79 70 65 AB C4 01", "<Type>X509v3Certificate</Type>"},
	{"UniqueIdText", "40 03 64 6F 63 AC 00 11 22 33 44 55 66 77 88 99 AA BB CC DD EE FF 01", "<doc>urn:uuid:33221100-5544-7766-8899-aabbccddeeff</doc>"},
	{"UniqueIdTextWithEndElement", "42 1A AD 00 11 22 33 44 55 66 77 88 99 AA BB CC DD EE FF", "<MessageID>urn:uuid:33221100-5544-7766-8899-aabbccddeeff</MessageID>"},
	{"TimeSpanText", "40 03 64 6F 63 AE 00 C4 F5 32 FF FF FF FF 01", "<doc>-PT5M44S</doc>"},
	{"TimeSpanTextWithEndElement", "42 94 07 AF 00 B0 8E F0 1B 00 00 00", "<dateTime>PT3H20M</dateTime>"},
	{"UuidText", "40 03 64 6F 63 B0 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 01", "<doc>03020100-0504-0706-0809-0a0b0c0d0e0f</doc>"},
	{"UuidTextWithEndElement", "40 02 49 44 B1 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F", "<ID>03020100-0504-0706-0809-0a0b0c0d0e0f</ID>"},
	{"UInt64Text", "40 03 64 6F 63 B2 FF FF FF FF FF FF FF FF 01", "<doc>18446744073709551615</doc>"},
	{"UInt64TextWithEndElement", "42 9A 01 B3 FE FF FF FF FF FF FF FF", "<Value>18446744073709551614</Value>"},
	{"BoolText", "40 03 64 6F 63 B4 01 01", "<doc>true</doc>"},
	{"BoolTextWithEndElement", "40 01 78 03 40 03 61 72 72 01 B5 05 01 00 01 00 01 01", "<x><arr>true</arr><arr>false</arr><arr>true</arr><arr>false</arr><arr>true</arr></x>"},
	{"UnicodeChars8Text", "40 03 64 6F 63 04 01 75 B6 06 75 00 6E 00 69 00 01", `<doc u="uni"></doc>`},
	{"UnicodeChars8TextWithEndElement", "40 01 55 B7 06 75 00 6E 00 69 00", "<U>uni</U>"},
	{"UnicodeChars16Text", "40 03 64 6F 63 04 03 75 31 36 B8 08 00 75 00 6E 00 69 00 32 00 01", `<doc u16="uni2"></doc>`},
	{"UnicodeChars16TextWithEndElement", "40 03 55 31 36 B9 08 00 75 00 6E 00 69 00 32 00", "<U16>uni2</U16>"},
	{"UnicodeChars32Text", "40 03 64 6F 63 04 03 75 33 32 BA 04 00 00 00 33 00 32 00 01", `<doc u32="32"></doc>`},
	{"UnicodeChars32TextWithEndElement", "40 03 55 33 32 BB 04 00 00 00 33 00 32 00", "<U32>32</U32>"},
	{"QNameDictionaryText", "40 03 64 6F 63 06 6E BC 08 8E 07 01", `<doc Expires="i:float"></doc>`},
	{"QNameDictionaryTextWithEndElement", "40 04 54 79 70 65 BD 12 90 07", "<Type>s:double</Type>"},
	{"texts side by side (§3, end)", "40 07 65 6c 65 6d 65 6e 74 8C D2 04 00 00 85", "<element>1234false</element>"},
}

// Each example reads as the specification prints it, reads the same when written
// back, and no part of it is a message: what is cut anywhere is refused, as is
// what has a byte more.
func TestExamplesOfTheSpecification(t *testing.T) {
	for _, x := range examples {
		t.Run(x.record, func(t *testing.T) {
			b := unhex(t, x.hex)
			e, err := Decode(b, Defaults)
			if err != nil {
				t.Fatal(err)
			}
			if got := render(e); got != x.expect {
				t.Errorf("got  %s\nwant %s", got, x.expect)
			}
			again := e.Append(nil)
			e2, err := Decode(again, Defaults)
			if err != nil || !reflect.DeepEqual(e, e2) {
				t.Errorf("written back as % x: %v", again, err)
			}
			for n := range b {
				if _, err := Decode(b[:n], Defaults); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNamespace) {
					t.Errorf("the first %d bytes: %v", n, err)
				}
			}
			if _, err := Decode(append(b[:len(b):len(b)], endElement), Defaults); !errors.Is(err, ErrMalformed) {
				t.Errorf("one more byte: %v", err)
			}
		})
	}
}

// Every byte value is a record type that some message here uses, or refused
// where a record begins.
func TestEveryRecordType(t *testing.T) {
	const doc = "40 01 64 09 01 61 01 6E "                                      // <d xmlns:a="n"
	data := map[byte]string{comment: "01 63", array: "40 01 61 01 8B 01 01 00"} // what follows the type
	for k := 0x04; k < 0x40; k++ {
		data[byte(k)] = map[bool]string{true: "00 82", false: "01 6D 82"}[k >= 0x0C && k <= 0x25 || k == 6]
	}
	data[attribute], data[dictAttribute] = "01 61 01 6D 82", "01 61 00 82"
	data[shortXmlns], data[xmlns], data[shortDictXmlns], data[dictXmlns] = "01 6E", "01 62 01 6E", "04", "01 62 04"
	for k := 0x40; k < 0x78; k++ {
		data[byte(k)] = map[bool]string{true: "00", false: "01 6D"}[k >= 0x44 && k <= 0x5D || k == 0x42] + " 01"
	}
	data[element], data[dictElement] = "01 61 01 6D 01", "01 61 00 01"
	for k := 0x80; k < 0xBE; k += 2 {
		kind := byte(k)
		size, ok := fixed(kind)
		switch n := lengthSize(kind); {
		case ok:
			data[kind] = strings.Repeat("01", size)
		case n > 0:
			data[kind] = "02" + strings.Repeat("00", n-1) + "41 42"
		}
	}
	data[startList], data[dictText], data[qnameText] = "82 84 A6", "02", "00 02"
	data[decimalText] = "00 00 01 80 00000000 0100000000000000"
	for k := byte(1); k < 0xC0; k++ {
		if k < 0x40 && k >= 0x04 && k != attribute && k != dictAttribute {
			continue // attributes: below
		}
		body, ok := data[k]
		text := k >= 0x80 && k <= 0xBD
		if text {
			body, ok = data[k&^1]
		}
		letterOther := k >= 0x44 && k < 0x78 && k != 0x44 && k != 0x5E // a prefix but a
		list := k == endList || k == endList|1 || k == startList|1
		msg := doc + hex.EncodeToString([]byte{k}) + body
		if k != endElement && !(text && k&1 != 0) {
			msg += "01"
		}
		e, err := Decode(unhex(t, msg), Defaults)
		switch {
		case letterOther:
			if !errors.Is(err, ErrNamespace) {
				t.Errorf("%02x: %v, want an undeclared prefix", k, err)
			}
		case k == endElement || ok && !list:
			if err != nil {
				t.Errorf("%02x: %v", k, err)
			} else if k >= 0x80 && k != emptyText && k != emptyText|1 && e.Text() == "" {
				t.Errorf("%02x: no text", k)
			}
		default:
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%02x: %v, want a malformed message", k, err)
			}
		}
	}
	for k := byte(0x04); k < 0x40; k++ {
		prefix := "a"
		switch {
		case k >= 0x26:
			prefix = letter(k - 0x26)
		case k >= 0x0C:
			prefix = letter(k - 0x0C)
		}
		msg := "40 01 64" + "09 01" + hex.EncodeToString([]byte(prefix)) + "01 6E" + hex.EncodeToString([]byte{k}) + data[k] + "01"
		b := unhex(t, msg)
		e, err := Decode(b, Defaults)
		if err != nil {
			t.Errorf("%02x: %v", k, err)
			continue
		}
		a := e.Attrs[1]
		if want := map[bool]string{true: nsXMLNS, false: "n"}[k >= 8 && k < 0x0C]; a.Namespace != want && (a.Prefix != "" || a.Namespace != "") {
			t.Errorf("%02x: namespace %q", k, a.Namespace)
		}
		if e2, err := Decode(e.Append(nil), Defaults); err != nil || !reflect.DeepEqual(e, e2) {
			t.Errorf("%02x: written back as % x: %v", k, e.Append(nil), err)
		}
	}
}

func TestTexts(t *testing.T) {
	le := binary.LittleEndian
	ticks := func(kind byte, n uint64) Value { return Value{kind, le.AppendUint64(nil, n)} }
	float := func(f float32) Value { return Value{floatText, le.AppendUint32(nil, math.Float32bits(f))} }
	double := func(f float64) Value { return Value{doubleText, le.AppendUint64(nil, math.Float64bits(f))} }
	dec := func(scale, sign byte, hi uint32, lo uint64) Value {
		return Value{decimalText, le.AppendUint64(le.AppendUint32([]byte{0, 0, scale, sign}, hi), lo)}
	}
	for _, x := range []struct {
		v      Value
		expect string
	}{
		{ticks(dateTime, 0), "0001-01-01T00:00:00"},
		{ticks(dateTime, 1), "0001-01-01T00:00:00.0000001"},
		{ticks(dateTime, 1<<62), "0001-01-01T00:00:00Z"},
		{ticks(dateTime, 638_993_630_455_000_000|1<<62), "2025-11-21T23:04:05.5Z"},
		{ticks(dateTime, 638_993_630_450_000_000|2<<62), "2025-11-21T23:04:05Z"}, // local: its ticks are UTC
		{ticks(dateTime, maxTicks-1), "9999-12-31T23:59:59.9999999"},
		{ticks(timeSpan, 0), "PT0S"},
		{ticks(timeSpan, 1), "PT0.0000001S"},
		{ticks(timeSpan, 5_000_000), "PT0.5S"},
		{ticks(timeSpan, 18_000_000_000), "PT30M"},
		{ticks(timeSpan, 864_000_000_000), "P1D"},
		{ticks(timeSpan, 864_000_000_000+36_000_000_000+10_000_000), "P1DT1H1S"},
		{ticks(timeSpan, math.MaxInt64), "P10675199DT2H48M5.4775807S"},
		{ticks(timeSpan, 1<<63), "-P10675199DT2H48M5.4775808S"},
		{float(0), "0"}, {float(float32(math.Copysign(0, -1))), "-0"}, {float(100000), "100000"},
		{float(1e7), "1E+07"}, {float(9999999), "9999999"}, {float(1e-5), "0.00001"}, {float(1e-6), "1E-06"},
		{double(1e15), "1E+15"}, {double(123456789012345), "123456789012345"}, {double(-0.1), "-0.1"},
		{double(math.Inf(1)), "INF"}, {double(math.Inf(-1)), "-INF"}, {double(math.NaN()), "NaN"},
		{dec(0, 0, 0, 0), "0"}, {dec(3, 0x80, 0, 0), "0"}, {dec(2, 0x80, 0, 150), "-1.5"}, {dec(28, 0, 0, 1), "0.0000000000000000000000000001"},
		{dec(1, 0, 0, 10), "1"}, {dec(0, 0, 0, 10), "10"}, {dec(0, 0, 1, 0), "18446744073709551616"},
		{Value{unicode8, []byte{0x3e, 0xd8, 0x8a, 0xdd, 0x41, 0}}, "🦊A"},
		{Value{chars8, []byte("a<b>&\x00")}, "a<b>&\x00"},
		{Value{bytes8, []byte{0xFF}}, "/w=="},
		{Value{comment, []byte("secret")}, ""},
		{Value{}, ""},
	} {
		if got := x.v.Text(); got != x.expect {
			t.Errorf("kind %02x: got %q, want %q", x.v.kind, got, x.expect)
		}
	}
}

// What the limits and guards of the decoder refuse. Each message is accepted when
// the one thing is taken from it, so nothing else is what refuses it.
func TestGuards(t *testing.T) {
	rep := strings.Repeat
	for _, x := range []struct {
		name      string
		good, bad string
		want      error
	}{
		{"odd id of an element", "42 02 01", "42 03 01", ErrDictionary},
		{"last id and one more", "40 01 64 AB CC 07", "40 01 64 AB CE 07", ErrDictionary},
		{"odd id of a text", "40 01 64 AB 02", "40 01 64 AB 03", ErrDictionary},
		{"odd id of a namespace", "40 01 64 0A 04 01", "40 01 64 0A 05 01", ErrDictionary},
		{"odd id in a qname", "40 01 64 BD 00 02", "40 01 64 BD 00 01", ErrDictionary},
		{"id over 31 bits", "40 01 64 AB 82 80 80 80 00", "40 01 64 AB 82 80 80 80 08", ErrMalformed},
		{"id of six bytes", "40 01 64 AB 82 80 80 80 00", "40 01 64 AB 82 80 80 80 80 00", ErrMalformed},
		{"prefix of a qname beyond z", "40 01 64 BD 19 02", "40 01 64 BD 1A 02", ErrMalformed},
		{"a URL as a name", "40 01 64 06 6E 82 01", "40 01 64 06 F0 06 82 01", ErrMalformed},
		{"xmlns as a name", "40 05 786D6C6E 74 01", "40 05 786D6C6E 73 01", ErrMalformed},
		{"xmlns as a name, by id", "42 54 01", "42 D6 04 01", ErrMalformed},
		{"markup as a name", "40 03 615f62 01", "40 03 613c62 01", ErrMalformed},
		{"a colon in a name", "40 03 615f62 01", "40 03 613a62 01", ErrMalformed},
		{"a digit first", "40 02 6131 01", "40 02 3161 01", ErrMalformed},
		{"no name", "40 01 64 01", "40 00 01", ErrMalformed},
		{"a name not in UTF-8", "40 02 C3BC 01", "40 02 C328 01", ErrMalformed},
		{"a text not in UTF-8", "40 01 64 99 02 C3BC", "40 01 64 99 02 C328", ErrMalformed},
		{"a surrogate in UTF-8", "40 01 64 99 03 ED9FBF", "40 01 64 99 03 EDA080", ErrMalformed},
		{"a comment not in UTF-8", "40 01 64 02 02 C3BC 01", "40 01 64 02 02 C328 01", ErrMalformed},
		{"a namespace not in UTF-8", "40 01 64 08 02 C3BC 01", "40 01 64 08 02 C328 01", ErrMalformed},
		{"half a UTF-16 unit", "40 01 64 B7 02 4100", "40 01 64 B7 03 410041", ErrMalformed},
		{"a high surrogate alone", "40 01 64 B7 04 3ED8 8ADD", "40 01 64 B7 04 3ED8 4100", ErrMalformed},
		{"a high surrogate last", "40 01 64 B7 04 3ED8 8ADD", "40 01 64 B7 02 3ED8", ErrMalformed},
		{"a low surrogate alone", "40 01 64 B7 04 3ED8 8ADD", "40 01 64 B7 04 8ADD 4100", ErrMalformed},
		{"a bool of two", "40 01 64 B5 01", "40 01 64 B5 02", ErrMalformed},
		{"a date after 9999", "40 01 64 97 FF3F37F47528CA2B", "40 01 64 97 004037F47528CA2B", ErrMalformed},
		{"a date of the fourth kind", "40 01 64 97 00000000000000 80", "40 01 64 97 00000000000000 C0", ErrMalformed},
		{"a decimal's scale", "40 01 64 95 0000 1C 00" + rep("00", 12), "40 01 64 95 0000 1D 00" + rep("00", 12), ErrMalformed},
		{"a decimal's sign", "40 01 64 95 0000 1C 80" + rep("00", 12), "40 01 64 95 0000 1C 81" + rep("00", 12), ErrMalformed},
		{"a list in a list", "40 01 64 A4 82 A7", "40 01 64 A4 A4 82 A6 A7", ErrMalformed},
		{"an element in a list", "40 01 64 A4 82 A7", "40 01 64 A4 40 01 64 01 A7", ErrMalformed},
		{"an end of element in a list", "40 01 64 A4 82 A7", "40 01 64 A4 83 A7", ErrMalformed},
		{"a list whose start ends the element", "40 01 64 A4 82 A7", "40 01 64 A5 82 A7", ErrMalformed},
		{"the same, with its own end", "40 01 64 A4 82 A6 01", "40 01 64 A5 82 A6 01", ErrMalformed},
		{"a list's end alone", "40 01 64 A4 A6 01", "40 01 64 A6 01", ErrMalformed},
		{"an element's end in an attribute", "40 01 64 04 01 61 82 01", "40 01 64 04 01 61 83 01", ErrMalformed},
		{"an element's end in an attribute's list", "40 01 64 04 01 61 A4 82 A6 01", "40 01 64 04 01 61 A4 82 A7 01", ErrMalformed},
		{"an element as an attribute's value", "40 01 64 04 01 61 82 01", "40 01 64 04 01 61 40 01 64 01 01", ErrMalformed},
		{"an attribute after a text", "40 01 64 04 01 61 82 82 01", "40 01 64 82 04 01 61 82 01", ErrMalformed},
		{"an attribute after a child", "40 01 64 04 01 61 82 42 02 01 01", "40 01 64 42 02 01 04 01 61 82 01", ErrMalformed},
		{"an attribute twice", "40 01 64 04 01 61 82 04 01 62 82 01", "40 01 64 04 01 61 82 04 01 61 82 01", ErrMalformed},
		{"an attribute twice, by two prefixes", "40 01 64 09 01 61 01 6E 09 01 62 01 6F 26 01 78 82 27 01 78 82 01",
			"40 01 64 09 01 61 01 6E 09 01 62 01 6E 26 01 78 82 27 01 78 82 01", ErrMalformed},
		{"a declaration twice", "40 01 64 09 01 61 01 6E 09 01 62 01 6E 01", "40 01 64 09 01 61 01 6E 09 01 61 01 6F 01", ErrMalformed},
		{"an undeclared prefix of an element", "5E 01 78 09 01 61 01 6E 01", "5E 01 78 09 01 62 01 6E 01", ErrNamespace},
		{"an undeclared prefix of an attribute", "40 01 64 09 01 61 01 6E 26 01 78 82 01", "40 01 64 09 01 62 01 6E 26 01 78 82 01", ErrNamespace},
		{"a prefix after its scope", "40 01 64 5E 01 78 09 01 61 01 6E 01 5E 01 78 09 01 61 01 6E 01 01",
			"40 01 64 5E 01 78 09 01 61 01 6E 01 5E 01 78 01 01", ErrNamespace},
		{"a prefix without namespace", "40 01 64 09 01 61 01 6E 01", "40 01 64 09 01 61 00 01", ErrNamespace},
		{"xml declared", "40 01 64 09 03 786d6d 01 6E 01", "40 01 64 09 03 786d6c 01 6E 01", ErrNamespace},
		{"the namespace of xmlns", "40 01 64 08 1D" + hex.EncodeToString([]byte("http://www.w3.org/2000/xmlnt/")) + "01",
			"40 01 64 08 1D" + hex.EncodeToString([]byte(nsXMLNS)) + "01", ErrNamespace},
		{"the namespace of xml", "40 01 64 08 24" + hex.EncodeToString([]byte("http://www.w3.org/XML/1998/namespacf")) + "01",
			"40 01 64 08 24" + hex.EncodeToString([]byte(nsXML)) + "01", ErrNamespace},
		{"a text first", "40 01 64 83", "82 40 01 64 83", ErrMalformed},
		{"an array first", "40 01 78 03 40 01 61 01 8B 01 01 00 01", "03 40 01 61 01 8B 01 01 00", ErrMalformed},
		{"an array of nothing", "40 01 78 03 40 01 61 01 8B 01 01 00 01", "40 01 78 03 40 01 61 01 8B 00 01", ErrMalformed},
		{"an array of zeros", "40 01 78 03 40 01 61 01 8B 01 01 00 01", "40 01 78 03 40 01 61 01 81 01 01", ErrMalformed},
		{"an array of strings", "40 01 78 03 40 01 61 01 B5 01 01 01", "40 01 78 03 40 01 61 01 99 01 01 41 01", ErrMalformed},
		{"an array of open texts", "40 01 78 03 40 01 61 01 8B 01 01 00 01", "40 01 78 03 40 01 61 01 8A 01 01 00 01", ErrMalformed},
		{"an array of texts", "40 01 78 03 40 01 61 01 8B 01 01 00 01", "40 01 78 03 82 01 8B 01 01 00 01", ErrMalformed},
		{"an array's element with a text", "40 01 78 03 40 01 61 01 8B 01 01 00 01", "40 01 78 03 40 01 61 82 8B 01 01 00 01", ErrMalformed},
		{"an array's value out of range", "40 01 78 03 40 01 61 01 B5 01 01 01", "40 01 78 03 40 01 61 01 B5 01 02 01", ErrMalformed},
		{"one end too many", "40 01 64 01", "40 01 64 01 01", ErrMalformed},
		{"two roots", "40 01 64 01", "40 01 64 01 40 01 64 01", ErrMalformed},
		{"a reserved record type for an element", "77 01 78 09 01 7A 01 6E 01", "78 01 78 09 01 7A 01 6E 01", ErrMalformed},
	} {
		t.Run(x.name, func(t *testing.T) {
			if _, err := Decode(unhex(t, x.good), Defaults); err != nil {
				t.Errorf("the good one: %v", err)
			}
			if _, err := Decode(unhex(t, x.bad), Defaults); !errors.Is(err, x.want) {
				t.Errorf("got %v, want %v", err, x.want)
			}
		})
	}
	if _, err := Decode(nil, Defaults); !errors.Is(err, ErrMalformed) {
		t.Errorf("no bytes: %v", err)
	}
}

// Each limit lets through what meets it and refuses one more.
func TestLimits(t *testing.T) {
	nested := func(n int) []byte {
		return append(bytes.Repeat([]byte{0x42, 0x02}, n), bytes.Repeat([]byte{0x01}, n)...)
	}
	around := func(inner ...[]byte) []byte {
		b := []byte{0x40, 1, 'd'}
		for _, i := range inner {
			b = append(b, i...)
		}
		return append(b, endElement)
	}
	var attrs, decls []byte
	for i := range byte(10) {
		attrs = append(attrs, shortAttribute, 1, 'a'+i, one)
		decls = append(decls, xmlns, 1, 'a'+i, 1, 'n')
	}
	half := decls[:25]
	other := around(bytes.ReplaceAll(half, []byte{1, 'n'}, []byte{1, 'm'}))
	boolArray := func(n byte) []byte {
		return append([]byte{array, 0x40, 1, 'a', endElement, boolText | 1, n}, make([]byte, n)...)
	}
	big := func(kind byte, n int) []byte {
		b := []byte{kind}
		switch lengthSize(kind) {
		case 1:
			b = append(b, byte(n))
		case 2:
			b = append(b, byte(n), 0)
		case 4:
			b = append(b, byte(n), 0, 0, 0)
		default:
			b = append(b, byte(n)) // a comment
		}
		return append(b, make([]byte, n)...)
	}
	name := strings.Repeat("n", 12)
	for _, x := range []struct {
		name string
		set  func(*Limits, int)
		at   int
		msg  []byte
	}{
		{"bytes", func(l *Limits, n int) { l.Bytes = n }, 12, nested(4)},
		{"depth", func(l *Limits, n int) { l.Depth = n }, 64, nested(64)},
		{"depth of an array", func(l *Limits, n int) { l.Depth = n }, 2, around(boolArray(1))},
		{"elements", func(l *Limits, n int) { l.Nodes = n }, 6, around(bytes.Repeat([]byte{0x42, 0x02, 0x01}, 5))},
		{"texts", func(l *Limits, n int) { l.Nodes = n }, 6, around(bytes.Repeat([]byte{zero}, 5))},
		{"comments", func(l *Limits, n int) { l.Nodes = n }, 3, around(bytes.Repeat([]byte{comment, 0}, 2))},
		{"attributes as nodes", func(l *Limits, n int) { l.Nodes = n }, 11, around(attrs)},
		{"items of a list", func(l *Limits, n int) { l.Nodes = n }, 5, around([]byte{startList, zero, one, zero, endList})},
		{"an array bomb", func(l *Limits, n int) { l.Nodes = n }, 2 + 200, around(boolArray(100))},
		{"attributes", func(l *Limits, n int) { l.Attributes = n }, 10, around(attrs)},
		{"declarations as attributes", func(l *Limits, n int) { l.Attributes = n }, 10, around(decls)},
		{"declarations in scope", func(l *Limits, n int) { l.Scope = n }, 10, around(half, other, other, other)},
		{"a name", func(l *Limits, n int) { l.String = n }, 12, append(append([]byte{0x40, 12}, name...), 1)},
		{"a namespace", func(l *Limits, n int) { l.String = n }, 12, around(append([]byte{shortXmlns, 12}, name...))},
		{"a comment", func(l *Limits, n int) { l.String = n }, 12, around(big(comment, 12))},
		{"an attribute's text", func(l *Limits, n int) { l.String = n }, 12, around([]byte{shortAttribute, 1, 'a'}, big(chars8, 12))},
		{"chars8", func(l *Limits, n int) { l.String = n }, 12, around(big(chars8, 12))},
		{"chars16", func(l *Limits, n int) { l.String = n }, 12, around(big(chars16, 12))},
		{"chars32", func(l *Limits, n int) { l.String = n }, 12, around(big(chars32, 12))},
		{"bytes8", func(l *Limits, n int) { l.String = n }, 12, around(big(bytes8, 12))},
		{"bytes16", func(l *Limits, n int) { l.String = n }, 12, around(big(bytes16, 12))},
		{"bytes32", func(l *Limits, n int) { l.String = n }, 12, around(big(bytes32, 12))},
		{"unicode32", func(l *Limits, n int) { l.String = n }, 12, around(big(unicode32, 12))},
		{"in a list", func(l *Limits, n int) { l.String = n }, 12, around([]byte{startList}, big(chars8, 12), []byte{endList})},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := Defaults
			x.set(&l, x.at)
			if _, err := Decode(x.msg, l); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			x.set(&l, x.at-1)
			if _, err := Decode(x.msg, l); !errors.Is(err, ErrLimit) {
				t.Errorf("over the limit: %v", err)
			}
		})
	}
}

// A length that is not there costs nothing, whatever it says.
func TestDeclaredLengthsAllocateNothing(t *testing.T) {
	l := Defaults
	l.String = math.MaxInt
	for name, msg := range map[string]string{
		"chars32":   "40 01 64 9C FF FF FF 7F 41",
		"chars32 -": "40 01 64 9C FF FF FF FF 41",
		"bytes32":   "40 01 64 A2 FF FF FF 7F 41",
		"unicode32": "40 01 64 BA FE FF FF 7F 41",
		"a name":    "40 FF FF FF FF 07 41",
		"comment":   "40 01 64 02 FF FF FF FF 07 41",
		"an array":  "40 01 64 03 40 01 61 01 B5 FF FF FF FF 07 01",
	} {
		b := unhex(t, msg)
		const times = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if _, err := Decode(b, l); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / times; each > 4096 {
			t.Errorf("%s: %d bytes allocated", name, each)
		}
	}
}

// A streaming writer cuts one base64 text into several records.
func TestAdjacentBytesAreOneText(t *testing.T) {
	e, err := Decode(unhex(t, "40 01 64 9E 02 41 42 A0 01 00 43 9F 01 44"), Defaults)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := e.Bytes(); string(got) != "ABCD" || e.Text() != "QUJDRA==" {
		t.Errorf("got %q, %s", got, e.Text())
	}
	if e, err = Decode(unhex(t, "40 01 64 9E 03 41 42 43 98 04 52 41 3D 3D 01"), Defaults); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Bytes(); string(got) != "ABCD" || err != nil {
		t.Errorf("bytes and characters: %q, %v", got, err)
	}
}

func TestBytes(t *testing.T) {
	for msg, want := range map[string]string{
		"40 01 64 01": "", "40 01 64 A9": "", "40 01 64 9F 00": "",
		"40 01 64 99 08 51 55 4A 44 52 41 3D 3D":              "ABCD", // characters
		"40 01 64 99 0A 51 55 4A 44 0A 20 52 41 3D 3D":        "ABCD", // with white space
		"40 01 64 B7 08 51 00 55 00 4A 00 44 00":              "ABC",
		"40 01 64 8B D2 04":                                   "\xd7\x6d\xf8", // 1234: four digits are base64
		"40 01 64 87":                                         "\xb6\xbb\x9e", // true: so are these
		"40 01 64 9E 00 9F 00":                                "",
		"40 01 64 02 01 63 9F 01 41":                          "A",
		"40 01 64 9C 04 00 00 00 51 51 3D 3D 42 02 01 01":     "A", // a child in the way
		"40 01 64 B0 00000000 0000 0000 0000 000000000000 01": "?",
		"40 01 64 99 04 51 52 3D 3D":                          "?", // bits after the end
	} {
		e, err := Decode(unhex(t, msg), Defaults)
		if err != nil {
			t.Fatal(err)
		}
		switch got, err := e.Bytes(); {
		case want == "?":
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %q, %v", msg, got, err)
			}
		case string(got) != want || err != nil:
			t.Errorf("%s: %q, %v", msg, got, err)
		}
	}
}

func TestNamespaces(t *testing.T) {
	// <d xmlns="n" xmlns:i=xsi a="1" i:type="p:string" xmlns:p=xsd><s xmlns="" i:nil="true"/><i:x/></d>
	e, err := Decode(unhex(t, "40 01 64 08 01 6E 0B 01 69 F2 06 04 01 61 82 14 F8 06 98 08 703a737472696e67 0B 01 70 F4 06"+
		"40 01 73 08 00 14 F6 06 86 01 66 01 78 01 40 01 74 14 F8 06 98 06 737472696e67 01 40 01 75 14 F8 06 98 03 713a78 01 01"), Defaults)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Is("n", "d") || e.Child("", "s") == nil || e.Child("n", "s") != nil || e.Child(NSXSI, "x") == nil {
		t.Error("names resolved wrongly:", render(e))
	}
	if v, ok := e.Attr("", "a"); !ok || v.Text() != "1" {
		t.Error("an attribute without prefix is in no namespace")
	}
	if _, ok := e.Attr("n", "a"); ok {
		t.Error("an attribute without prefix has got the default namespace")
	}
	if ns, local := e.Type(); ns != "http://www.w3.org/2001/XMLSchema" || local != "string" {
		t.Error("type", ns, local)
	}
	if ns, local := e.Child("n", "t").Type(); ns != "n" || local != "string" {
		t.Error("type without prefix", ns, local)
	}
	if ns, local := e.Child("n", "u").Type(); ns != "" || local != "" {
		t.Error("type with an undeclared prefix", ns, local)
	}
	if ns, local := e.Child("", "s").Type(); ns != "" || local != "" {
		t.Error("no type", ns, local)
	}
	if !e.Child("", "s").IsNil() || e.IsNil() {
		t.Error("nil")
	}
	var none *Element
	if b, err := none.Child("", "x").Bytes(); b != nil || err != nil || none.Text() != "" || none.IsNil() || none.Is("", "") {
		t.Error("an absent element has content")
	}
	for range none.Elements() {
		t.Error("an absent element has children")
	}
	n := 0
	for range e.Elements() {
		n++
		break
	}
	if n != 1 {
		t.Error("Elements does not stop")
	}
}

// Whatever prints a tree prints no token.
func TestContentIsRedacted(t *testing.T) {
	e, err := Decode(unhex(t, "40 01 64 04 01 61 98 06 736563726574 99 06 736563726574"), Defaults)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("m", "e", e, "v", e.Attrs[0].Value, "n", e.Nodes, "any", *e)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "e", e, "v", e.Attrs[0].Value, "n", e.Nodes, "any", *e)
	j, err := json.Marshal([]any{e, *e, e.Attrs, e.Nodes, e.Nodes[0].Value})
	if err != nil {
		t.Fatal(err)
	}
	out := log.String() + string(j)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb, e) + fmt.Sprintf(verb, *e) + fmt.Sprintf(verb, e.Attrs) + fmt.Sprintf(verb, e.Nodes) + fmt.Sprintf(verb, e.Nodes[0].Value)
	}
	for _, leak := range []string{"secret", "736563", "115 101", "c2VjcmV0"} {
		if strings.Contains(out, leak) {
			t.Errorf("%q in %s", leak, out)
		}
	}
	if !strings.Contains(out, redacted) {
		t.Error("nothing printed at all")
	}
	if e.Text() != "secret" {
		t.Error("the way out is closed")
	}
}

func TestDictionary(t *testing.T) {
	if len(dictionary) != 487 || len(ids) != 487 {
		t.Fatalf("%d strings, %d ids", len(dictionary), len(ids))
	}
	// The ids that entra-wire.md §A5 lists from the wire.
	for id, want := range map[uint32]string{0: "mustUnderstand", 2: "Envelope", 4: NSSoap, 6: NSAddressing, 8: "Header", 0x0A: "Action",
		0x0C: "To", 0x0E: "Body", 0x12: "RelatesTo", 0x14: NSAddressing + "/anonymous", 0x1A: "MessageID", 0x2A: "Address", 0x2C: "ReplyTo",
		0x86: "Fault", 0x8A: "role", 0x8E: "Code", 0x90: "Reason", 0x92: "Text", 0x98: "Detail", 0x9A: "Value", 0x9C: "Subcode",
		0x14A: "Password", 0x25A: "UserName", 0x372: NSXSI, 0x374: "http://www.w3.org/2001/XMLSchema", 0x376: "nil", 0x378: "type",
		0x37C: "boolean", 0x396: "string", 0x398: "base64Binary", 0xA2: "", 0x1A8: " http://schemas.xmlsoap.org/ws/2005/02/trust/tlsnego", 0x3CC: "detail"} {
		if got, ok := word(id); !ok || got != want {
			t.Errorf("%x: %q, want %q", id, got, want)
		}
	}
}
