package dit

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"skyrealm/sid"
)

// Normalise returns the form of a value by which it equals others of the same
// attribute: two values match for equality exactly when their normal forms are
// equal. A value that the attribute's syntax does not allow gives "", and so
// does an attribute that equality is not defined for; an index must leave both
// out. The value may be a stored one or one from a filter.
//
// For objectCategory it leaves out the domain's part of the name, because a
// filter may name the class alone; an index over it gives candidates that the
// filter decides about.
func Normalise[S ~string | ~[]byte](t *AttrType, value S) string {
	var buf [maxDNEntry]byte
	n, ok := appendNormal(buf[:0], t, value)
	if !ok {
		return ""
	}
	return string(n)
}

// appendNormal is Normalise onto dst; ok is false for a value that can't be
// compared.
func appendNormal[S ~string | ~[]byte](dst []byte, t *AttrType, value S) (normal []byte, ok bool) {
	switch t.Syntax {
	case DirectoryString:
		if !validUTF8(value) {
			return nil, false
		}
		return appendFold(dst, value), true
	case OIDString:
		return appendOID(dst, t, value), true
	case CaseExactString, OctetString:
		return append(dst, value...), true
	case Integer, LargeInteger, GeneralizedTime:
		n, ok := number(t.Syntax, value)
		return strconv.AppendInt(dst, n, 10), ok
	case Boolean:
		switch {
		case foldEqual(value, "true"):
			return append(dst, "TRUE"...), true
		case foldEqual(value, "false"):
			return append(dst, "FALSE"...), true
		}
		return nil, false
	case GUIDString:
		return appendGUID(dst, value)
	case SIDString:
		// AD takes the string form as well as the binary one
		// ([MS-ADTS] §3.1.1.3.1.3.1).
		if len(value) > 2 && lower(value[0]) == 's' && value[1] == '-' {
			s, err := sid.Parse(string(value))
			return append(dst, s...), err == nil
		}
		_, err := sid.FromBytes([]byte(value))
		return append(dst, value...), err == nil
	case DNString:
		if t == objectCategory {
			return appendCategory(dst, value)
		}
		if len(value) == 0 || !validUTF8(value) {
			return nil, false
		}
		return appendDNKey(dst, value)
	case DNBinary:
		return appendDNBinary(dst, value)
	}
	return nil, false
}

// appendOID gives the name of a class or attribute for its identifier, for
// either may be written in objectClass.
func appendOID[S ~string | ~[]byte](dst []byte, t *AttrType, value S) []byte {
	if len(value) > 0 && '0' <= value[0] && value[0] <= '9' {
		if c := lookup(classes, value); c != nil && t == objectClass {
			return appendFold(dst, c.Name)
		}
	}
	return appendFold(dst, value)
}

const schemaContainer = ",cn=schema,cn=configuration"

// appendCategory takes the name of a class for that of its default category
// ([MS-ADTS] §3.1.1.3.1.3.5): (objectCategory=person) finds users and contacts.
func appendCategory[S ~string | ~[]byte](dst []byte, value S) ([]byte, bool) {
	if c := lookup(classes, value); c != nil {
		dst = append(dst, "cn="...)
		dst = appendFold(dst, c.Category)
		return append(dst, schemaContainer...), true
	}
	start := len(dst)
	dst, ok := appendDNKey(dst, value)
	if !ok {
		return nil, false
	}
	if i := bytes.Index(dst[start:], []byte(schemaContainer+",")); i >= 0 {
		dst = dst[:start+i+len(schemaContainer)]
	}
	return dst, true
}

// appendDNBinary normalises B:count:data:DN.
func appendDNBinary[S ~string | ~[]byte](dst []byte, value S) ([]byte, bool) {
	if len(value) < 4 || value[1] != ':' {
		return nil, false
	}
	i := 0 // digits of the count
	for i < len(value)-2 && value[2+i] != ':' {
		i++
	}
	if i < 1 || i > 4 || 2+i == len(value) {
		return nil, false
	}
	n, err := strconv.Atoi(string(value[2 : 2+i]))
	at := 2 + i + 1 // the data
	if err != nil || n < 0 || at+n >= len(value) || value[at+n] != ':' {
		return nil, false
	}
	switch lower(value[0]) {
	case 'b':
		dst = appendFold(dst, value[:at+n+1])
	case 's':
		dst = append(append(dst, 's'), value[1:at+n+1]...)
	default:
		return nil, false
	}
	return appendDNKey(dst, value[at+n+1:])
}

// number reads the numeric syntaxes; a time becomes seconds since 1970.
func number[S ~string | ~[]byte](s Syntax, b S) (n int64, ok bool) {
	if s == GeneralizedTime {
		return seconds(b)
	}
	n, ok = parseInt(b)
	if s == Integer {
		// Clients write bit masks such as groupType's 2147483648 unsigned.
		if n < math.MinInt32 || n > math.MaxUint32 {
			return 0, false
		}
		n = int64(int32(n))
	}
	return n, ok
}

// parseInt is strconv.ParseInt for bytes, which would have to become a string.
func parseInt[S ~string | ~[]byte](b S) (n int64, ok bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 {
		return 0, false
	}
	var u uint64
	for i := 0; i < len(digits); i++ {
		c := digits[i]
		if c < '0' || c > '9' || u > (math.MaxUint64-9)/10 {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	if len(digits) < len(b) {
		return -int64(u), u <= 1<<63
	}
	return int64(u), u < 1<<63
}

// seconds reads GeneralizedTime (RFC 4517 §3.3.13) to the second, as AD does,
// and UTCTime, which AD takes in filters. A zone is needed.
func seconds[S ~string | ~[]byte](b S) (unix int64, ok bool) {
	var n [14]int
	digits := 0
	for digits < 14 && digits < len(b) && '0' <= b[digits] && b[digits] <= '9' {
		n[digits] = int(b[digits] - '0')
		digits++
	}
	rest := b[digits:]
	two := func(i int) int { return n[i]*10 + n[i+1] }
	year, at := 0, 4
	switch digits {
	case 14, 12, 10:
		year = two(0)*100 + two(2)
		// Twelve digits are UTCTime with seconds where a zone follows at once
		// and the first two are no century AD can hold dates of (1601 on).
		if digits == 12 && two(0) != 16 && two(0) != 17 && two(0) != 18 && two(0) != 19 && two(0) != 20 && two(0) != 21 {
			year, at = 2000+two(0), 2
			if two(0) >= 50 {
				year -= 100
			}
		}
	default:
		return 0, false
	}
	part := func() (v int) {
		if at < digits {
			v = two(at)
		}
		at += 2
		return v
	}
	month, day, hour, minute, second := part(), part(), part(), part(), part()
	if len(rest) > 0 && (rest[0] == '.' || rest[0] == ',') {
		i := 1
		for i < len(rest) && '0' <= rest[i] && rest[i] <= '9' {
			i++
		}
		if i == 1 {
			return 0, false
		}
		rest = rest[i:]
	}
	offset := 0
	switch {
	case len(rest) == 1 && rest[0] == 'Z':
	case (len(rest) == 3 || len(rest) == 5) && (rest[0] == '+' || rest[0] == '-'):
		v, ok := parseInt(rest[1:])
		if !ok || rest[1] == '-' {
			return 0, false
		}
		if len(rest) == 3 {
			v *= 100
		}
		offset = int(v/100)*3600 + int(v%100)*60
		if rest[0] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day || int(t.Month()) != month || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	return t.Unix() - int64(offset), true
}
