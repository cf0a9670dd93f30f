// Package sid holds Windows security identifiers: their binary form as it
// stands in LDAP attributes, PACs and security descriptors, and their string
// form.
//
// Reference: [MS-DTYP] §2.4.2.
package sid

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// SID is a security identifier in its binary form ([MS-DTYP] §2.4.2.2), kept in
// a string so that it compares, works as a map key and can't be changed. The
// zero value is no SID. A SID that came out of [Parse], [FromBytes] or
// [SID.Append] is well-formed.
type SID string

// MaxSubAuthorities is the most a SID may hold.
const MaxSubAuthorities = 15

// ErrSyntax is returned for text or bytes that are no SID.
var ErrSyntax = errors.New("sid: malformed security identifier")

// New makes the SID S-1-authority-sub….
func New(authority uint64, sub ...uint32) SID {
	b := make([]byte, 8, 8+4*len(sub))
	b[0], b[1] = 1, byte(len(sub))
	for i := 0; i < 6; i++ {
		b[2+i] = byte(authority >> (8 * (5 - i)))
	}
	for _, s := range sub {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return SID(b)
}

// FromBytes checks and takes a binary SID.
func FromBytes(b []byte) (SID, error) {
	if len(b) < 8 || b[0] != 1 || b[1] > MaxSubAuthorities || len(b) != 8+4*int(b[1]) {
		return "", ErrSyntax
	}
	return SID(b), nil
}

// Parse reads the string form, S-1-5-21-….
func Parse(text string) (SID, error) {
	parts := strings.Split(text, "-")
	if len(parts) < 3 || len(parts) > 3+MaxSubAuthorities || (parts[0] != "S" && parts[0] != "s") || parts[1] != "1" {
		return "", ErrSyntax
	}
	// In hexadecimal from 2³² on ([MS-DTYP] §2.4.2.1). ParseUint by itself would
	// take 010 for eight.
	digits, base := parts[2], 10
	if rest, ok := strings.CutPrefix(digits, "0x"); ok {
		digits, base = rest, 16
	}
	authority, err := strconv.ParseUint(digits, base, 48)
	if err != nil || base == 10 && len(digits) > 1 && digits[0] == '0' {
		return "", ErrSyntax
	}
	sub := make([]uint32, 0, MaxSubAuthorities)
	for _, p := range parts[3:] {
		v, err := strconv.ParseUint(p, 10, 32)
		if err != nil {
			return "", ErrSyntax
		}
		sub = append(sub, uint32(v))
	}
	return New(authority, sub...), nil
}

// String returns the string form; the zero SID gives "".
func (s SID) String() string {
	if s == "" {
		return ""
	}
	b := append(make([]byte, 0, 64), "S-1-"...)
	b = strconv.AppendUint(b, s.Authority(), 10)
	for i := 0; i < s.Len(); i++ {
		b = append(b, '-')
		b = strconv.AppendUint(b, uint64(s.Sub(i)), 10)
	}
	return string(b)
}

// Authority returns the identifier authority; 5 is NT Authority.
func (s SID) Authority() (v uint64) {
	for i := 2; i < 8; i++ {
		v = v<<8 | uint64(s[i])
	}
	return v
}

// Len returns how many sub-authorities there are.
func (s SID) Len() int {
	if s == "" {
		return 0
	}
	return int(s[1])
}

// Sub returns the i-th sub-authority.
func (s SID) Sub(i int) uint32 {
	o := 8 + 4*i
	return uint32(s[o]) | uint32(s[o+1])<<8 | uint32(s[o+2])<<16 | uint32(s[o+3])<<24
}

// Append returns the SID with one more sub-authority: a domain's SID and a RID
// give an account's.
func (s SID) Append(rid uint32) SID {
	b := append(make([]byte, 0, len(s)+4), s...)
	b[1]++
	return SID(binary.LittleEndian.AppendUint32(b, rid))
}

// Split returns the SID without its last sub-authority, and that one: an
// account's domain and RID. ok is false where there is none to take.
func (s SID) Split() (domain SID, rid uint32, ok bool) {
	n := s.Len()
	if n == 0 {
		return "", 0, false
	}
	b := []byte(s[:len(s)-4])
	b[1]--
	return SID(b), s.Sub(n - 1), true
}
