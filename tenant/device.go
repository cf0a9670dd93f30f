package tenant

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"
)

// Device codes (RFC 8628): how long one is good, and how long it is remembered.
const (
	DeviceLifetime = 15 * time.Minute
	deviceMemory   = 15 * time.Minute
)

// deviceAlphabet of user codes has no vowels, so that no words come out, and
// nothing that looks like something else (RFC 8628 §6.1). Nine of its characters
// are 42 bits: guesses of all codes that can be open at a time, at the rate that
// the edge lets pass, hit none in a lifetime.
const (
	deviceAlphabet = "BCDFGHJKMNPQRSTVWXZ23456789"
	deviceLength   = 9
)

// DeviceState is what became of a device code.
type DeviceState uint8

// The states.
const (
	DevicePending  DeviceState = 1
	DeviceApproved DeviceState = 2
	DeviceDeclined DeviceState = 3
)

// DeviceCode is a device's wish to be signed in by a person elsewhere.
type DeviceCode struct {
	Hash     [32]byte // SHA-256 of the code that the device holds
	UserCode string   // upper case, what the person types
	Client   ID
	Scope    string // as the device asked
	Expires  time.Time
	State    DeviceState
	Session  Session // of the person who approved it
}

// Refusals of a device's poll.
var (
	ErrDevicePending  = errors.New("tenant: nobody has approved the device code yet")
	ErrDeviceDeclined = errors.New("tenant: the device code was declined")
	ErrDeviceExpired  = errors.New("tenant: the device code has expired")
)

// NewDevice takes a device's wish. The code is a secret of the device; it is not
// stored.
func (s *Service) NewDevice(ctx context.Context, client ID, scope string) (code string, d DeviceCode, err error) {
	now := s.Now().UTC()
	for try := 0; ; try++ {
		var secret [32]byte
		if _, err := io.ReadFull(s.Rand, secret[:]); err != nil {
			return "", d, err
		}
		code = base64.RawURLEncoding.EncodeToString(secret[:])
		d = DeviceCode{Hash: sha256.Sum256([]byte(code)), Client: client, Scope: scope,
			Expires: now.Add(DeviceLifetime), State: DevicePending}
		if d.UserCode, err = newUserCode(s.Rand); err != nil {
			return "", d, err
		}
		err = s.Store.PutDevice(ctx, d, now.Add(-deviceMemory))
		if !errors.Is(err, ErrConflict) || try == 2 { // another device has the user code
			return code, d, err
		}
	}
}

func newUserCode(rand io.Reader) (string, error) {
	var b [deviceLength]byte
	for i := range b {
		n, err := randomInt(rand, len(deviceAlphabet))
		if err != nil {
			return "", err
		}
		b[i] = deviceAlphabet[n]
	}
	return string(b[:]), nil
}

// foldUserCode reads what a person typed: case, blanks and dashes don't count.
func foldUserCode(typed string) (string, bool) {
	var b [deviceLength]byte
	n := 0
	for _, c := range []byte(typed) {
		switch {
		case c == ' ' || c == '-' || c == '\t':
			continue
		case c >= 'a' && c <= 'z':
			c -= 'a' - 'A'
		}
		if n == deviceLength || strings.IndexByte(deviceAlphabet, c) < 0 {
			return "", false
		}
		b[n] = c
		n++
	}
	return string(b[:]), n == deviceLength
}

// PendingDevice returns the wish that a person typed the code of, or ErrNotFound
// where there is none to decide on any more.
func (s *Service) PendingDevice(ctx context.Context, typed string) (DeviceCode, error) {
	code, ok := foldUserCode(typed)
	if !ok {
		return DeviceCode{}, ErrNotFound
	}
	d, err := s.Store.DeviceByUserCode(ctx, code)
	if err == nil && (d.State != DevicePending || !s.Now().Before(d.Expires)) {
		return DeviceCode{}, ErrNotFound
	}
	return d, err
}

// DecideDevice approves a wish with the session of whoever signed in, or declines
// it where that is nil. ErrNotFound: it was decided or has expired since.
func (s *Service) DecideDevice(ctx context.Context, d DeviceCode, session *Session) error {
	d.State = DeviceDeclined
	if session != nil {
		d.State, d.Session = DeviceApproved, *session
	}
	return s.Store.DecideDevice(ctx, d, s.Now())
}

// RedeemDevice returns the wish of a device's code once it is approved, and to one
// caller only. Otherwise: ErrDevicePending, ErrDeviceDeclined, ErrDeviceExpired,
// or ErrNotFound for a code that is none, was redeemed, or is another client's.
func (s *Service) RedeemDevice(ctx context.Context, code string, client ID) (DeviceCode, error) {
	d, err := s.Store.Device(ctx, sha256.Sum256([]byte(code)))
	switch {
	case err != nil:
		return DeviceCode{}, err
	case d.Client != client:
		return DeviceCode{}, ErrNotFound
	case d.State == DeviceDeclined:
		return DeviceCode{}, ErrDeviceDeclined
	case !s.Now().Before(d.Expires):
		return DeviceCode{}, ErrDeviceExpired
	case d.State == DevicePending:
		return DeviceCode{}, ErrDevicePending
	}
	return d, s.Store.TakeDevice(ctx, d.Hash)
}
