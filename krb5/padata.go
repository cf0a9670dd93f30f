package krb5

import (
	"encoding/binary"
	"time"

	"skyrealm/der"
)

// PAData is one element of pre-authentication data.
//
//	PA-DATA ::= SEQUENCE {
//	    padata-type  [1] Int32,
//	    padata-value [2] OCTET STRING }
type PAData struct {
	Type  int32
	Value []byte
}

// MethodData is the e-data of KDC_ERR_PREAUTH_REQUIRED, and the padata and
// encrypted-pa-data of other messages.
//
//	METHOD-DATA ::= SEQUENCE OF PA-DATA
type MethodData []PAData

// Find returns the value of the first element of type t.
func (m MethodData) Find(t int32) (value []byte, ok bool) {
	for i := range m {
		if m[i].Type == t {
			return m[i].Value, true
		}
	}
	return nil, false
}

// Marshal puts the SEQUENCE OF in front of w.
func (m MethodData) Marshal(w *der.Writer) {
	end := w.Len()
	for i := len(m) - 1; i >= 0; i-- {
		mark := w.Len()
		putOctets(w, 2, m[i].Value)
		putInt(w, 1, int64(m[i].Type))
		w.Wrap(der.Sequence, mark)
	}
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b.
func (m *MethodData) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	*m = d.padata(&in, (*m)[:0])
	return d.err("METHOD-DATA")
}

func (d *decoder) padata(in *der.Reader, m MethodData) MethodData {
	for !in.Empty() && !d.bad {
		if len(m) == MaxPAData {
			d.bad = true
			break
		}
		one := d.enter(in, der.Sequence)
		p := PAData{Type: d.int32(&one, 1)}
		p.Value = d.octets(&one, 2)
		d.end(&one)
		m = append(m, p)
	}
	return m
}

func (d *decoder) optPAData(r *der.Reader, n int, m MethodData) MethodData {
	if !d.has(r, n) {
		return m[:0]
	}
	in := d.sequenceAt(r, n)
	return d.padata(&in, m[:0])
}

func putOptPAData(w *der.Writer, n int, m MethodData) {
	if len(m) == 0 {
		return
	}
	mark := w.Len()
	m.Marshal(w)
	w.Wrap(der.Context(n), mark)
}

// ETypeInfoEntry tells a client how to make a key from its password. Where the
// salt is absent the client takes its default one, which is not the empty one.
type ETypeInfoEntry struct {
	EType     int32
	Salt      string
	NoSalt    bool   // absent, as for RC4
	S2KParams []byte // nil: absent; not in ETYPE-INFO
}

// ETypeInfo2 is the value of PA-ETYPE-INFO2 (RFC 4120 §5.2.7.5).
//
//	ETYPE-INFO2 ::= SEQUENCE OF SEQUENCE {
//	    etype     [0] Int32,
//	    salt      [1] KerberosString OPTIONAL,
//	    s2kparams [2] OCTET STRING OPTIONAL }
type ETypeInfo2 []ETypeInfoEntry

// ETypeInfo is the value of PA-ETYPE-INFO, which only clients older than RFC
// 4120 need (§5.2.7.4).
//
//	ETYPE-INFO ::= SEQUENCE OF SEQUENCE {
//	    etype [0] Int32,
//	    salt  [1] OCTET STRING OPTIONAL }
type ETypeInfo []ETypeInfoEntry

// Marshal puts the SEQUENCE OF in front of w.
func (l ETypeInfo2) Marshal(w *der.Writer) { putETypes(w, l, der.GeneralString) }

// Marshal puts the SEQUENCE OF in front of w.
func (l ETypeInfo) Marshal(w *der.Writer) { putETypes(w, l, der.OctetString) }

// Unmarshal decodes the whole of b.
func (l *ETypeInfo2) Unmarshal(b []byte) error {
	var d decoder
	*l = d.etypes(b, (*l)[:0], der.GeneralString)
	return d.err("ETYPE-INFO2")
}

// Unmarshal decodes the whole of b.
func (l *ETypeInfo) Unmarshal(b []byte) error {
	var d decoder
	*l = d.etypes(b, (*l)[:0], der.OctetString)
	return d.err("ETYPE-INFO")
}

func putETypes(w *der.Writer, l []ETypeInfoEntry, salt der.Tag) {
	end := w.Len()
	for i := len(l) - 1; i >= 0; i-- {
		e := &l[i]
		mark := w.Len()
		if e.S2KParams != nil && salt == der.GeneralString {
			putOctets(w, 2, e.S2KParams)
		}
		if !e.NoSalt {
			field := w.Len()
			w.String(salt, e.Salt)
			w.Wrap(der.Context(1), field)
		}
		putInt(w, 0, int64(e.EType))
		w.Wrap(der.Sequence, mark)
	}
	w.Wrap(der.Sequence, end)
}

func (d *decoder) etypes(b []byte, l []ETypeInfoEntry, salt der.Tag) []ETypeInfoEntry {
	in := d.sequence(b)
	for !in.Empty() && !d.bad {
		if len(l) == MaxETypes {
			d.bad = true
			break
		}
		one := d.enter(&in, der.Sequence)
		e := ETypeInfoEntry{EType: d.int32(&one, 0), NoSalt: true}
		if d.has(&one, 1) {
			field := d.enter(&one, der.Context(1))
			text, ok := field.Bytes(salt)
			d.bad = d.bad || !ok || !field.Empty() || len(text) > MaxComponent
			if !d.bad {
				e.Salt, e.NoSalt = string(text), false
			}
		}
		if d.has(&one, 2) && salt == der.GeneralString {
			e.S2KParams = d.octets(&one, 2)
		}
		d.end(&one)
		l = append(l, e)
	}
	return l
}

// PAEncTSEnc is the plaintext of PA-ENC-TIMESTAMP, to the microsecond.
//
//	PA-ENC-TS-ENC ::= SEQUENCE {
//	    patimestamp [0] KerberosTime,
//	    pausec      [1] Microseconds OPTIONAL }
type PAEncTSEnc struct{ Time time.Time }

// Marshal puts the SEQUENCE in front of w.
func (p PAEncTSEnc) Marshal(w *der.Writer) {
	mark := w.Len()
	putMicros(w, 1, p.Time)
	putTime(w, 0, p.Time)
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b.
func (p *PAEncTSEnc) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	p.Time = d.time(&in, 0)
	p.Time = d.optMicros(&in, 1, p.Time)
	d.end(&in)
	return d.err("PA-ENC-TS-ENC")
}

// PACRequest is the value of PA-PAC-REQUEST ([MS-KILE] §2.2.3): does the client
// want a PAC?
//
//	KERB-PA-PAC-REQUEST ::= SEQUENCE { include-pac [0] BOOLEAN }
type PACRequest bool

// Marshal puts the SEQUENCE in front of w.
func (p PACRequest) Marshal(w *der.Writer) {
	mark := w.Len()
	w.Bool(der.Boolean, bool(p))
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b.
func (p *PACRequest) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	field := d.enter(&in, der.Context(0))
	v, ok := field.Bool(der.Boolean)
	d.bad = d.bad || !ok || !field.Empty()
	d.end(&in)
	*p = PACRequest(v)
	return d.err("KERB-PA-PAC-REQUEST")
}

// PACOptions is the value of PA-PAC-OPTIONS ([MS-KILE] §2.2.10), bit 0 as the
// highest.
//
//	PA-PAC-OPTIONS ::= SEQUENCE { flags [0] KerberosFlags }
type PACOptions uint32

// Marshal puts the SEQUENCE in front of w.
func (p PACOptions) Marshal(w *der.Writer) {
	mark := w.Len()
	putFlags(w, 0, uint32(p))
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b.
func (p *PACOptions) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	*p = PACOptions(d.flags(&in, 0))
	d.end(&in)
	return d.err("PA-PAC-OPTIONS")
}

// SupportedEncTypes is the value of PA-SUPPORTED-ENCTYPES: the bits of
// msDS-SupportedEncryptionTypes ([MS-KILE] §2.2.7, §2.2.8). It is no ASN.1.
type SupportedEncTypes uint32

// Bits of SupportedEncTypes.
const (
	SupportedDESCRC           SupportedEncTypes = 1 << 0
	SupportedDESMD5           SupportedEncTypes = 1 << 1
	SupportedRC4              SupportedEncTypes = 1 << 2
	SupportedAES128           SupportedEncTypes = 1 << 3
	SupportedAES256           SupportedEncTypes = 1 << 4
	SupportedAES256SK         SupportedEncTypes = 1 << 5 // for session keys
	SupportedAES128SHA2       SupportedEncTypes = 1 << 6
	SupportedAES256SHA2       SupportedEncTypes = 1 << 7
	SupportedFAST             SupportedEncTypes = 1 << 16
	SupportedCompoundIdentity SupportedEncTypes = 1 << 17
	SupportedClaims           SupportedEncTypes = 1 << 18
	SupportedNoSIDCompression SupportedEncTypes = 1 << 19
)

// Marshal puts the four octets in front of w.
func (s SupportedEncTypes) Marshal(w *der.Writer) {
	binary.LittleEndian.PutUint32(w.Space(4), uint32(s))
}

// Unmarshal decodes the whole of b.
func (s *SupportedEncTypes) Unmarshal(b []byte) error {
	if len(b) != 4 {
		return SyntaxError("PA-SUPPORTED-ENCTYPES")
	}
	*s = SupportedEncTypes(binary.LittleEndian.Uint32(b))
	return nil
}
