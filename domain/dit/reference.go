package dit

import (
	"bytes"
	"encoding/hex"
	"strings"

	"skyrealm/sid"
)

// Reference is what AD's clients may write where a name is expected
// ([MS-ADTS] §3.1.1.3.1.2.4): the name itself, <GUID=…>, <SID=…>, or
// <WKGUID=…,name>, by which adcli finds the container for new computers.
type Reference struct {
	GUID      []byte  // the entry with this objectGUID
	SID       sid.SID // the entry with this objectSid
	WellKnown []byte  // the GUID that DN's wellKnownObjects give to the entry
	DN        DN
}

// ParseReference reads a name in any of those forms.
func ParseReference(text string) (Reference, error) {
	if !strings.HasPrefix(text, "<") {
		dn, err := ParseDN(text)
		return Reference{DN: dn}, err
	}
	// A further form may follow the first: <GUID=…>;<SID=…>;name. The first
	// decides.
	body, _, ok := strings.Cut(text[1:], ">")
	if !ok || len(text) > MaxDN {
		return Reference{}, ErrDNSyntax
	}
	kind, value, _ := strings.Cut(body, "=")
	switch strings.ToUpper(kind) {
	case "GUID":
		if g, ok := appendGUID(nil, value); ok {
			return Reference{GUID: g}, nil
		}
	case "SID":
		if s, err := sid.Parse(value); err == nil {
			return Reference{SID: s}, nil
		}
		if raw, err := hex.DecodeString(value); err == nil {
			if s, err := sid.FromBytes(raw); err == nil {
				return Reference{SID: s}, nil
			}
		}
	case "WKGUID":
		guid, name, _ := strings.Cut(value, ",")
		raw, err := hex.DecodeString(guid)
		if err != nil || len(raw) != 16 {
			break
		}
		dn, err := ParseDN(name)
		return Reference{WellKnown: raw, DN: dn}, err
	}
	return Reference{}, ErrDNSyntax
}

// appendGUID reads a GUID as its 16 bytes, as 32 hexadecimal digits in that
// order, or in the form with dashes, whose first three groups are numbers and
// so stand reversed ([MS-DTYP] §2.3.4.3). Braces may enclose the last.
func appendGUID[S ~string | ~[]byte](dst []byte, text S) ([]byte, bool) {
	if len(text) == 16 {
		return append(dst, text...), true
	}
	if len(text) == 38 && text[0] == '{' && text[37] == '}' {
		text = text[1:37]
	}
	var digits [32]byte
	switch {
	case len(text) == 32:
		copy(digits[:], text)
	case len(text) == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-':
		copy(digits[copy(digits[:], text[:8]):], text[9:13])
		copy(digits[12:], text[14:18])
		copy(digits[16:], text[19:23])
		copy(digits[20:], text[24:])
	default:
		return nil, false
	}
	var raw [16]byte
	if _, err := hex.Decode(raw[:], bytes.ToLower(digits[:])); err != nil {
		return nil, false
	}
	if len(text) == 36 {
		raw[0], raw[1], raw[2], raw[3] = raw[3], raw[2], raw[1], raw[0]
		raw[4], raw[5] = raw[5], raw[4]
		raw[6], raw[7] = raw[7], raw[6]
	}
	return append(dst, raw[:]...), true
}
