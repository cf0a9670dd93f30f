package kdc

import (
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/sid"
)

// s4u is what an exchange has beside any other where a service asks for a
// ticket in somebody else's name ([MS-SFU]). With it exchange.client is that
// somebody, and front the owner of the TGT.
type s4u struct {
	front *domain.Object
	// vouched: the person was not seen by a KDC, the service says who it is.
	vouched bool
	// bound: the ticket must not be forwardable, so that it goes no further.
	bound bool
	// evidence is the person's ticket for front, in S4U2Proxy.
	evidence   *krb5.EncTicketPart
	delegation *pac.Delegation

	encPAData krb5.MethodData // of the reply
}

// noS4U are the options that mean another kind of request.
const noS4U = krb5.OptRenew | krb5.OptForwarded | krb5.OptProxy | krb5.OptEncTktInSKey

// onBehalf finds out whom the ticket is for, where that is not the TGT's owner.
// To ignore that a request is one of these would be to give the asking service
// a ticket of its own.
func (x *exchange) onBehalf() error {
	forUser, named := x.req.PAData.Find(krb5.PAForUser)
	byID, identified := x.req.PAData.Find(krb5.PAS4UX509User)
	self, proxy := named || identified, x.req.Options&krb5.OptCNameInAddlTkt != 0
	switch {
	case !self && !proxy:
		return nil
	case self && proxy, x.req.Options&noS4U != 0, x.service.tgs, x.service.changePW:
		return refuse(krb5.ErrBadOption, "delegation together with what it can't be with")
	case self:
		return x.toSelf(forUser, byID)
	}
	return x.toProxy()
}

// toProxy is S4U2Proxy ([MS-SFU] §3.2.5.2): the evidence, a person's ticket for
// the service that asks, becomes one for another service.
func (x *exchange) toProxy() error {
	front, target := x.client, x.service.account
	if len(x.req.AdditionalTickets) == 0 {
		return refuse(krb5.ErrBadOption, "S4U2Proxy without a ticket for evidence")
	}
	t := &x.req.AdditionalTickets[0]
	s := &s4u{front: front, evidence: new(krb5.EncTicketPart)}

	// 1. Is the evidence a ticket of ours for this service, as we issued it?
	p, err := x.openEvidence(t, s.evidence)
	if err != nil {
		return err
	}

	// 2. Whose? A service's ticket names no requestor, so the account is the
	// one that LOGON_INFO describes.
	if p.Logon.LogonDomainID != x.k.Replica.Info.SID {
		return refuse(krb5.ErrModified, "the evidence is of another domain's account")
	}
	o := x.k.Replica.ByRID(p.Logon.UserID)
	if o == nil || !o.SignsIn() || o.RID == domain.RIDKrbtgt {
		return refuse(krb5.ErrTGTRevoked, "the evidence's client is gone")
	}
	if o.Disabled() {
		return refuse(krb5.ErrClientRevoked, "the evidence's client is disabled")
	}
	for _, extra := range p.Logon.ExtraSIDs {
		s.vouched = s.vouched || extra.SID == sidService
	}

	// 3. May it be passed on at all? A ticket that may not carries no
	// FORWARDABLE, which the ticket signature has kept there (CVE-2020-17049);
	// the account may have been marked since (CVE-2019-14870).
	if s.evidence.Flags&krb5.FlagForwardable == 0 || !x.k.Replica.Delegable(o) {
		return refuseStatus(krb5.ErrBadOption, statusAccountRestriction, "the client must not be delegated")
	}

	// 4. By this service to that one? No list of targets is none
	// (CVE-2024-2698).
	spn := strings.Join(x.req.SName.Name, "/")
	var options krb5.PACOptions
	if v, ok := x.req.PAData.Find(krb5.PAPACOptions); ok && options.Unmarshal(v) != nil {
		return refuse(krb5.ErrGeneric, "malformed PA-PAC-OPTIONS")
	}
	byResource := uint32(options)&krb5.PACOptResourceBasedS4U != 0
	if err := x.mayProxy(front, target, spn, byResource); err != nil {
		return err
	}
	if byResource { // understood ([MS-SFU] §3.2.5.2.3)
		s.encPAData = krb5.MethodData{{Type: krb5.PAPACOptions, Value: krb5.Encode(krb5.PACOptions(krb5.PACOptResourceBasedS4U))}}
	}

	through := front.SAM
	if named := x.k.byServiceName(t.SName); named != nil && named.RID == front.RID {
		through = strings.Join(t.SName.Name, "/")
	}
	s.delegation = p.Delegation.Through(through+"@"+x.k.realm, spn)
	if len(s.delegation.Transited) > pac.MaxTransited {
		return refuse(krb5.ErrPolicy, "delegated through too many services")
	}
	x.client, x.cname, x.s4u = o, s.evidence.CName, s
	return nil
}

// openEvidence decrypts the ticket with the asking service's key and verifies
// all four signatures of its PAC: a service knows its own key, and may have
// changed what it likes (CVE-2020-17049, CVE-2022-37967).
func (x *exchange) openEvidence(t *krb5.Ticket, part *krb5.EncTicketPart) (*pac.PAC, error) {
	keys := x.keysOf(x.client)
	if keys == nil {
		return nil, refuse(krb5.ErrNoKey, "the asking service has no keys")
	}
	version, err := keys.find(&t.EncPart)
	if err != nil {
		return nil, err
	}
	plain, err := version.ticket.Decrypt(nil, t.EncPart.Cipher)
	if err != nil {
		return nil, refuse(krb5.ErrModified, "the evidence does not decrypt")
	}
	if part.Unmarshal(plain) != nil {
		return nil, refuse(krb5.ErrModified, "malformed evidence")
	}
	if part.CRealm != x.k.realm || !x.k.isRealm(t.Realm) {
		return nil, refuse(krb5.ErrBadOption, "evidence of another realm")
	}
	if err := x.checkTimes(part); err != nil {
		return nil, err
	}
	tgs, err := x.krbtgtKeys()
	if err != nil {
		return nil, err
	}
	signers := append(make([]etype.Key, 0, 2), tgs.current.key)
	if tgs.previous != nil {
		signers = append(signers, tgs.previous.key)
	}
	blank := *part
	blank.PAC = []byte{0}
	return x.genuine(part, krb5.ErrModified, version.key, krb5.Encode(&blank), signers...)
}

// mayProxy decides on delegation from front to the target, of which spn is the
// name that is asked for; byResource says that the client knows of the target's
// descriptor. The status is what AD's clients read.
func (x *exchange) mayProxy(front, target *domain.Object, spn string, byResource bool) error {
	switch {
	case front.DelegatesTo(spn):
		return nil
	case !byResource && front.Delegates():
		return refuseStatus(krb5.ErrBadOption, statusNoMatch, "the service may not delegate to this one")
	case !byResource:
		return refuseStatus(krb5.ErrBadOption, statusNotSupported, "the service may not delegate")
	case !x.k.Replica.ActsFor(front, target):
		return refuseStatus(krb5.ErrBadOption, statusNotFound, "the target lets no such service act for others")
	}
	return nil
}

// NTSTATUS values of AD's refusals ([MS-ERREF] §2.3.1).
const (
	statusAccountRestriction krb5.ExtError = 0xc000006e
	statusNotSupported       krb5.ExtError = 0xc00000bb
	statusNotFound           krb5.ExtError = 0xc0000225
	statusNoMatch            krb5.ExtError = 0xc0000272
)

// sidService is S-1-18-2: a service says who the person is ([MS-DTYP] §2.4.2.4).
var sidService = sid.New(18, 2)

var serviceAsserted = []pac.SIDAttributes{{SID: sidService, Attributes: groupAttributes}}

// The functions below are what the phases after onBehalf ask; each has its
// answer for an exchange that is nothing special.

// assertedIdentity is the SID in the PAC that says who answers for the name.
func (x *exchange) assertedIdentity() []pac.SIDAttributes {
	if x.s4u != nil && x.s4u.vouched {
		return serviceAsserted
	}
	return authorityAsserted
}

// delegatedBy is the PAC's S4U_DELEGATION_INFO.
func (x *exchange) delegatedBy() *pac.Delegation {
	if x.s4u == nil {
		return nil
	}
	return x.s4u.delegation
}

// basis is the ticket that the new one says the same as: when and how the
// client was authenticated.
func (x *exchange) basis() *krb5.EncTicketPart {
	if x.s4u != nil && x.s4u.evidence != nil {
		return x.s4u.evidence
	}
	return &x.tgt
}

// bound reports whether the ticket must stay where it is, whatever the client
// and its TGT allow.
func (x *exchange) bound() bool { return x.s4u != nil && x.s4u.bound }
