package krb5

import (
	"time"

	"skyrealm/der"
)

// Error is a KRB-ERROR. It is the message on the wire and the error in Go.
//
//	KRB-ERROR ::= [APPLICATION 30] SEQUENCE {
//	    pvno       [0] INTEGER (5),
//	    msg-type   [1] INTEGER (30),
//	    ctime      [2] KerberosTime OPTIONAL,
//	    cusec      [3] Microseconds OPTIONAL,
//	    stime      [4] KerberosTime,
//	    susec      [5] Microseconds,
//	    error-code [6] Int32,
//	    crealm     [7] Realm OPTIONAL,
//	    cname      [8] PrincipalName OPTIONAL,
//	    realm      [9] Realm -- service realm --,
//	    sname      [10] PrincipalName -- service name --,
//	    e-text     [11] KerberosString OPTIONAL,
//	    e-data     [12] OCTET STRING OPTIONAL }
type Error struct {
	CTime  time.Time // of the client, to the microsecond; zero: absent
	STime  time.Time // of the server, to the microsecond
	Code   ErrorCode
	CRealm string
	CName  PrincipalName
	Realm  string
	SName  PrincipalName // required: krbtgt/REALM where a request named none
	EText  string
	EData  []byte
}

// Error says the code's name and the text.
func (e *Error) Error() string {
	if e.EText == "" {
		return "krb5: " + e.Code.String()
	}
	return "krb5: " + e.Code.String() + ": " + e.EText
}

// Unwrap returns the code, for errors.Is.
func (e *Error) Unwrap() error { return e.Code }

// Marshal puts the message in front of w.
func (e *Error) Marshal(w *der.Writer) {
	end := w.Len()
	if e.EData != nil {
		putOctets(w, 12, e.EData)
	}
	if e.EText != "" {
		putText(w, 11, e.EText)
	}
	putName(w, 10, e.SName)
	putText(w, 9, e.Realm)
	putOptName(w, 8, e.CName)
	if e.CRealm != "" {
		putText(w, 7, e.CRealm)
	}
	putInt(w, 6, int64(e.Code))
	putMicros(w, 5, e.STime)
	putTime(w, 4, e.STime)
	if !e.CTime.IsZero() {
		putMicros(w, 3, e.CTime)
		putTime(w, 2, e.CTime)
	}
	putInt(w, 1, MsgError)
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, MsgError, end)
}

// Unmarshal decodes the whole of b.
func (e *Error) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, MsgError)
	d.want(&r, 0, ProtocolVersion)
	d.want(&r, 1, MsgError)
	e.CTime = d.optTime(&r, 2)
	e.CTime = d.optMicros(&r, 3, e.CTime)
	e.STime = d.time(&r, 4)
	e.STime = e.STime.Add(d.micros(&r, 5))
	e.Code = ErrorCode(d.int32(&r, 6))
	e.CRealm = d.optText(&r, 7)
	d.optName(&r, 8, &e.CName)
	e.Realm = d.text(&r, 9)
	d.name(&r, 10, &e.SName)
	e.EText = ""
	if d.has(&r, 11) {
		// MIT's KDC of old counts the terminating NUL; the text is only shown.
		in := d.enter(&r, der.Context(11))
		text, ok := in.Bytes(der.GeneralString)
		d.bad = d.bad || !ok || !in.Empty() || len(text) > MaxErrorText
		if !d.bad {
			e.EText = string(text)
		}
	}
	e.EData = nil
	if d.has(&r, 12) {
		e.EData = d.octets(&r, 12)
	}
	d.end(&r)
	return d.err("KRB-ERROR")
}
