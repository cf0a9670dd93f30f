package kdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// reply is an AP-REP and a KRB-PRIV with the outcome.
func (c *change) reply(o *outcome) ([]byte, error) {
	var seq [4]byte
	if _, err := io.ReadFull(c.k.Rand, seq[:]); err != nil {
		return nil, fmt.Errorf("kdc: sequence number: %w", err)
	}
	// Positive and far from the end, as older Heimdals write large ones as
	// negative (RFC 4120 §5.5.1 lets us choose).
	number := binary.BigEndian.Uint32(seq[:])&0x3fffffff | 1
	// The client's subkey, given back: those who look here for the key of the
	// KRB-PRIV, which is always the client's (RFC 3244 §2), find it.
	rep := krb5.EncAPRepPart{CTime: c.auth.CTime, Subkey: c.auth.Subkey, SeqNumber: number}
	ap, err := c.seal(c.session, &rep, krb5.UsageAPRepPart)
	if err != nil {
		return nil, err
	}
	return c.framed(o, func(user []byte) ([]byte, []byte, error) {
		part := krb5.EncPrivPart{UserData: krb5.NewSecret(user), SeqNumber: number, Sender: c.p.sender()}
		priv, err := c.seal(c.subkey, &part, krb5.UsagePriv)
		return krb5.Encode(&krb5.APRep{EncPart: ap}), krb5.Encode(&krb5.Priv{EncPart: priv}), err
	})
}

// framed puts the outcome into a message of the protocol.
func (c *change) framed(o *outcome, messages func(user []byte) (ap, body []byte, err error)) ([]byte, error) {
	user := append(binary.BigEndian.AppendUint16(nil, uint16(o.result)), o.text...)
	for {
		ap, body, err := messages(user)
		if err != nil {
			return nil, err
		}
		b := krb5.Encode(&krb5.Kpasswd{Version: krb5.KpasswdChange, AP: ap, Body: body})
		// Heimdal takes a message with such a length for a KRB-ERROR without a
		// frame: 0x5e and 0x7e are its first byte.
		if b[1] != 0x5e && b[1] != 0x7e {
			return b, nil
		}
		user = append(user, ' ')
	}
}

func (c *change) seal(key etype.Key, m krb5.Marshaler, usage uint32) (krb5.EncryptedData, error) {
	cipher, err := key.Encrypt(nil, krb5.Encode(m), usage, c.k.Rand)
	return krb5.EncryptedData{EType: int32(key.ID()), Cipher: cipher}, err
}

// sender is our address in a KRB-PRIV, which older clients of MIT's compare with
// the one that they see.
func (p *Kpasswd) sender() krb5.HostAddress {
	if p.local.Address != nil {
		return p.local
	}
	// Not known, as where all addresses of the machine are listened on: the one
	// that says no more than who answers (RFC 4120 §7.1).
	return krb5.HostAddress{Type: krb5.AddrDirectional, Address: []byte{0, 0, 0, 1}}
}

// hostAddress is empty for an address that says nothing.
func hostAddress(a netip.Addr) krb5.HostAddress {
	switch a = a.Unmap(); {
	case !a.IsValid() || a.IsUnspecified():
		return krb5.HostAddress{}
	case a.Is4():
		return krb5.HostAddress{Type: krb5.AddrIPv4, Address: a.AsSlice()}
	}
	return krb5.HostAddress{Type: krb5.AddrIPv6, Address: a.AsSlice()}
}

// refuse answers who could not be authenticated: a KRB-ERROR with the outcome in
// its e-data, in the frame of the protocol for version 1 and bare for the other
// (RFC 3244 §2).
func (c *change) refuse(ctx context.Context, err error) []byte {
	o := outcome{result: krb5.KpasswdAuthError, text: "the request could not be authenticated"}
	var known *refusal
	code, why := krb5.ErrGeneric, ""
	level := slog.LevelInfo
	if errors.As(err, &known) {
		code, why = known.code, known.why
	} else {
		o.result, o.text = krb5.KpasswdHardError, "the server failed; its log says why"
		level, why = slog.LevelError, err.Error()
	}
	switch code {
	case krb5.ErrTktExpired:
		o.text = "the ticket has expired"
	case krb5.ErrSkew:
		o.text = "the client's clock differs too much from the server's"
	case krb5.ErrClientRevoked:
		o.text = "the account is disabled"
	}
	c.p.Count.results[o.result].Add(1)
	c.k.Log.LogAttrs(ctx, level, "kdc: password change refused",
		slog.String("code", code.String()), slog.String("why", why), slog.String("from", c.from.String()))

	e := krb5.Error{STime: c.now, Code: code, Realm: c.k.realm, SName: krb5.Principal(krb5.NTSrvInst, "kadmin", "changepw")}
	if c.frame.Version != krb5.KpasswdChange {
		e.EData = append(binary.BigEndian.AppendUint16(nil, uint16(o.result)), o.text...)
		return bytes.Clone(krb5.Encode(&e))
	}
	reply, _ := c.framed(&o, func(user []byte) ([]byte, []byte, error) {
		e.EData = user
		return nil, krb5.Encode(&e), nil
	})
	return reply
}
