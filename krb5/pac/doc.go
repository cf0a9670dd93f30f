// Package pac builds, reads, signs and verifies the Privilege Attribute
// Certificate: what a ticket says of a person's SIDs, and by what Windows,
// Samba and SSSD decide who somebody is.
//
// [Parse] reads what [Verify] has found genuine; neither trusts a length,
// offset or count of the other's making, and nothing is allocated from a count
// before the bytes for it are seen.
//
// References: [MS-PAC]; [MS-RPCE] §2.2.6 (type serialization version 1) and
// C706 chapter 14 for the NDR of LOGON_INFO; CVE-2022-37967 and CVE-2022-42898
// for what the checks are there to stop.
package pac

import (
	"errors"
	"time"
)

// Limits on what is read and written.
const (
	// MaxBuffers is how many buffers a PAC may hold; Windows writes ten.
	MaxBuffers = 32
	// MaxGroups bounds each of the three lists of groups. A Windows token
	// holds at most 1,024 SIDs, which leaves a user 1,015 groups.
	MaxGroups = 1024
	maxString = 32766 // characters of UTF-16 that a Length field can count
)

// Errors.
var (
	// ErrMissing: a buffer that must be there is not.
	ErrMissing = errors.New("pac: a required buffer is missing")
	// ErrSignature: a signature does not verify, is of another key's type, or
	// is of none that needs a key.
	ErrSignature = errors.New("pac: signature does not verify")
	// ErrTooLong: a name or list is longer than its field can say.
	ErrTooLong = errors.New("pac: value too long")
	// ErrNoKey: a signature was asked for or of without a key.
	ErrNoKey = errors.New("pac: no key")
)

// SyntaxError names the part of a PAC that could not be read.
type SyntaxError string

func (e SyntaxError) Error() string { return "pac: malformed " + string(e) }

// FileTime counts 100-nanosecond steps since 1601 ([MS-DTYP] §2.3.3). Zero is
// "not set" and [Never] "never".
type FileTime uint64

// Never is the time that does not come.
const Never FileTime = 1<<63 - 1

const epochGap = 11644473600 // seconds from 1601 to 1970

// FileTimeOf converts t; the zero time gives 0.
func FileTimeOf(t time.Time) FileTime {
	if t.IsZero() {
		return 0
	}
	return FileTime((t.Unix()+epochGap)*1e7 + int64(t.Nanosecond())/100)
}

// Time converts to UTC; 0 gives the zero time. It means nothing for Never.
func (f FileTime) Time() time.Time {
	if f == 0 {
		return time.Time{}
	}
	return time.Unix(int64(f/1e7)-epochGap, int64(f%1e7)*100).UTC()
}
