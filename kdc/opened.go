package kdc

import (
	"bytes"
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// opened is a TGT that was found genuine: decrypted, its PAC's signatures verified and
// its contents read, its session key made ready. A client shows the same TGT for each
// service that it goes to, and to open it is a third of what a TGS-REQ costs.
//
// Only what can't change is remembered: that the krbtgt's key made it and what is in it.
// Whether the key still counts, the times, and what became of the account are looked at
// for each request. Nothing here may be changed, as many requests read it at once.
type opened struct {
	version *keyVersion // that it is encrypted and signed under
	cipher  []byte
	part    krb5.EncTicketPart
	pac     *pac.PAC
	session etype.Key     // with the checksum of requests ready
	auth    *etype.Cipher // of authenticators
}

// Limits of what is remembered: 2,048 TGTs of a generation, 4 kB each with a usual PAC. One
// that is larger than most is opened anew each time.
const (
	openedEntries = 64
	openedWindow  = 10 * time.Minute
	openedMost    = 4096
)

// recallTGT returns the TGT if it was opened before under this version of the key.
func (x *exchange) recallTGT(t *krb5.Ticket, v *keyVersion) *opened {
	o, ok := x.k.opened.recall(fingerprintOf(t.EncPart.Cipher))
	// The hash is for finding; that it is the same ticket, its bytes say.
	if !ok || o.version != v || !bytes.Equal(o.cipher, t.EncPart.Cipher) {
		return nil
	}
	return o
}

// rememberTGT keeps the TGT of a request that was genuine in every way.
func (x *exchange) rememberTGT(p *pac.PAC) {
	o := x.opened
	cipher := x.ap.Ticket.EncPart.Cipher
	if o.cipher != nil || len(cipher) > openedMost {
		return // it is remembered, or too large
	}
	session, err := etype.NewKey(etype.ID(o.part.Key.Type), o.part.Key.Expose())
	if err != nil {
		return
	}
	o.cipher, o.pac = bytes.Clone(cipher), p
	o.session = session.WithChecksum(krb5.UsageTGSReqChecksum)
	o.auth = session.Cipher(krb5.UsageTGSReqAuthenticator)
	x.k.opened.remember(fingerprintOf(cipher), o, x.now, openedWindow, openedEntries)
}
