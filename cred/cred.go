// Package cred holds the forms a password takes between an on-premises
// directory, the tenant and the managed domain: the digest that the tenant
// verifies sign-ins with, the NT hash and Kerberos keys that the domain needs
// (together: the legacy hashes), the sealed form in which only the domain can
// read those, and the ring of keys that guards secrets at rest.
//
// References: entra-wire.md §B and §C, [MS-SAMR] §2.2, RFC 3962, RFC 7516 and
// 7518 (sealing), RFC 7638 (key names), NIST SP 800-38D (at rest).
//
// Passwords are hashed as they come. Active Directory hashes UTF-16 code units
// without Unicode normalisation, so to normalise here would lock out whoever
// typed the other form of the same character on-premises.
package cred

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"unicode/utf8"
)

// MaxPassword is the longest password in UTF-16 code units, which is what
// Active Directory counts.
const MaxPassword = 256

var (
	ErrPasswordTooLong = errors.New("cred: password is longer than 256 characters")
	ErrPasswordNotUTF8 = errors.New("cred: password is not UTF-8")
)

// CheckPassword guards everything that hashes: an attacker's megabyte costs its
// length check, and text without characters has no NT hash.
func CheckPassword(password string) error {
	if len(password) > 3*MaxPassword { // a code unit has up to three bytes in UTF-8
		return ErrPasswordTooLong
	}
	if !utf8.ValidString(password) {
		return ErrPasswordNotUTF8
	}
	n := 0
	for _, r := range password {
		n++
		if r > 0xffff {
			n++
		}
	}
	if n > MaxPassword {
		return ErrPasswordTooLong
	}
	return nil
}

// secret, embedded, makes a type print as [redacted] in every way that fmt,
// slog and encoding/json print.
type secret struct{}

const redacted = "[redacted]"

func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
