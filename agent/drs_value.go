package agent

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"unicode/utf16"

	"skyrealm/sid"
)

// decodeValue reads one value of an attribute as it stands in a reply of
// GetNCChanges ([MS-DRSR] §5.16.4) into the text that is kept: numbers decimal,
// bytes in base64, SIDs in their string form.
func decodeValue(s syntax, b []byte) (string, error) {
	switch s {
	case text:
		if len(b)%2 != 0 {
			return "", malformed("text of an odd length")
		}
		units := make([]uint16, len(b)/2)
		for i := range units {
			units[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
		return string(utf16.Decode(units)), nil
	case integer, boolean:
		if len(b) != 4 {
			return "", malformed("an integer that has not 4 bytes")
		}
		return strconv.FormatInt(int64(int32(binary.LittleEndian.Uint32(b))), 10), nil
	case large:
		if len(b) != 8 {
			return "", malformed("a large integer that has not 8 bytes")
		}
		return strconv.FormatInt(int64(binary.LittleEndian.Uint64(b)), 10), nil
	case binaries:
		return base64.StdEncoding.EncodeToString(b), nil
	case identifier:
		id, err := sid.FromBytes(b)
		if err != nil {
			return "", malformed("a SID")
		}
		return id.String(), nil
	}
	return "", malformed("a value of a syntax that is not expected")
}

// linkTarget reads the GUID out of a DSNAME in its packed form ([MS-DRSR] §5.49,
// §5.50): length u32, SID length u32, GUID.
func linkTarget(b []byte) (GUID, error) {
	var g GUID
	if len(b) < 8+len(g) {
		return g, malformed("a name that is cut")
	}
	copy(g[:], b[8:])
	if g.IsZero() {
		return g, malformed("a name without a GUID")
	}
	return g, nil
}
