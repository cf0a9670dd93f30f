package krb5

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/test/testdata"
	"github.com/jcmturner/gokrb5/v8/types"
)

// mitVectors are MIT krb5's reference encodings (its tests/asn.1, in the copy
// that gokrb5 publishes), made by MIT's own encoder. What this package encodes
// on purpose in another way is in other.
var mitVectors = []struct {
	kind, name, hex string
	other           bool
}{
	{"Authenticator", "authenticator", testdata.MarshaledKRB5authenticator, false},
	{"Authenticator", "authenticator, optionals empty", testdata.MarshaledKRB5authenticatorOptionalsEmpty, false},
	{"Authenticator", "authenticator, optionals NULL", testdata.MarshaledKRB5authenticatorOptionalsNULL, false},
	{"Ticket", "ticket", testdata.MarshaledKRB5ticket, false},
	{"EncTicketPart", "enc_tkt_part", testdata.MarshaledKRB5enc_tkt_part, false},
	{"EncTicketPart", "enc_tkt_part, optionals NULL", testdata.MarshaledKRB5enc_tkt_partOptionalsNULL, false},
	{"EncTGSRepPart", "enc_kdc_rep_part", testdata.MarshaledKRB5enc_kdc_rep_part, false},
	{"EncTGSRepPart", "enc_kdc_rep_part, optionals NULL", testdata.MarshaledKRB5enc_kdc_rep_partOptionalsNULL, false},
	{"AS-REP", "as_rep", testdata.MarshaledKRB5as_rep, false},
	{"AS-REP", "as_rep, optionals NULL", testdata.MarshaledKRB5as_repOptionalsNULL, false},
	{"TGS-REP", "tgs_rep", testdata.MarshaledKRB5tgs_rep, false},
	{"TGS-REP", "tgs_rep, optionals NULL", testdata.MarshaledKRB5tgs_repOptionalsNULL, false},
	{"AP-REQ", "ap_req", testdata.MarshaledKRB5ap_req, false},
	{"AP-REP", "ap_rep", testdata.MarshaledKRB5ap_rep, false},
	{"EncAPRepPart", "ap_rep_enc_part", testdata.MarshaledKRB5ap_rep_enc_part, false},
	{"EncAPRepPart", "ap_rep_enc_part, optionals NULL", testdata.MarshaledKRB5ap_rep_enc_partOptionalsNULL, false},
	{"AS-REQ", "as_req", testdata.MarshaledKRB5as_req, false},
	{"AS-REQ", "as_req, second ticket", testdata.MarshaledKRB5as_reqOptionalsNULLexceptsecond_ticket, false},
	{"AS-REQ", "as_req, server", testdata.MarshaledKRB5as_reqOptionalsNULLexceptserver, false},
	{"TGS-REQ", "tgs_req", testdata.MarshaledKRB5tgs_req, false},
	{"TGS-REQ", "tgs_req, second ticket", testdata.MarshaledKRB5tgs_reqOptionalsNULLexceptsecond_ticket, false},
	{"TGS-REQ", "tgs_req, server", testdata.MarshaledKRB5tgs_reqOptionalsNULLexceptserver, false},
	{"KDC-REQ-BODY", "kdc_req_body", testdata.MarshaledKRB5kdc_req_body, false},
	{"KDC-REQ-BODY", "kdc_req_body, second ticket", testdata.MarshaledKRB5kdc_req_bodyOptionalsNULLexceptsecond_ticket, false},
	{"KDC-REQ-BODY", "kdc_req_body, server", testdata.MarshaledKRB5kdc_req_bodyOptionalsNULLexceptserver, false},
	{"KRB-PRIV", "priv", testdata.MarshaledKRB5priv, false},
	{"EncKrbPrivPart", "enc_priv_part", testdata.MarshaledKRB5enc_priv_part, false},
	{"EncKrbPrivPart", "enc_priv_part, optionals NULL", testdata.MarshaledKRB5enc_priv_partOptionalsNULL, false},
	{"KRB-ERROR", "error", testdata.MarshaledKRB5error, false},
	// cusec without the ctime it belongs to.
	{"KRB-ERROR", "error, optionals NULL", testdata.MarshaledKRB5errorOptionalsNULL, true},
	{"AuthorizationData", "authorization_data", testdata.MarshaledKRB5authorization_data, false},
	{"METHOD-DATA", "padata_sequence", testdata.MarshaledKRB5padata_sequence, false},
	{"METHOD-DATA", "padata_sequence, empty", testdata.MarshaledKRB5padataSequenceEmpty, false},
	{"ETYPE-INFO", "etype_info", testdata.MarshaledKRB5etype_info, false},
	{"ETYPE-INFO", "etype_info, none", testdata.MarshaledKRB5etype_infoNoInfo, false},
	{"ETYPE-INFO2", "etype_info2", testdata.MarshaledKRB5etype_info2, false},
	{"PA-ENC-TS-ENC", "pa_enc_ts", testdata.MarshaledKRB5pa_enc_ts, false},
	// No microseconds: we write 0.
	{"PA-ENC-TS-ENC", "pa_enc_ts, no usec", testdata.MarshaledKRB5pa_enc_tsNoUsec, true},
	{"EncryptedData", "enc_data", testdata.MarshaledKRB5enc_data, false},
	// kvno as a negative number, as MIT before 1.9 wrote those of 2^31 and more.
	{"EncryptedData", "enc_data, kvno's top bit", testdata.MarshaledKRB5enc_dataMSBSetkvno, true},
	{"EncryptedData", "enc_data, kvno -1", testdata.MarshaledKRB5enc_dataKVNONegOne, true}, {"KrbFastResponse", "fast_response", testdata.MarshaledKRB5fast_response, false},
	{"PA-FX-FAST-REPLY", "pa_fx_fast_reply", testdata.MarshaledKRB5pa_fx_fast_reply, false},
}

func indexOf(name string) int {
	for i, k := range kinds() {
		if k.name == name {
			return i
		}
	}
	panic("no kind " + name)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMITVectors(t *testing.T) {
	all := kinds()
	for _, v := range mitVectors {
		wire := unhex(t, v.hex)
		m := all[indexOf(v.kind)].empty()
		if err := m.Unmarshal(wire); err != nil {
			t.Errorf("%s: %v\n%x", v.name, err, wire)
			continue
		}
		if got := Encode(m); bytes.Equal(got, wire) == v.other {
			t.Errorf("%s encodes as\n%x, MIT's is\n%x", v.name, got, wire)
		}
	}
}

// TestMITRequest looks into one of MIT's encodings, so that two wrongs can't
// make a right.
func TestMITRequest(t *testing.T) {
	var q KDCReq
	if err := q.Unmarshal(unhex(t, testdata.MarshaledKRB5as_req)); err != nil {
		t.Fatal(err)
	}
	when := time.Date(1994, 6, 10, 6, 3, 17, 0, time.UTC)
	data := EncryptedData{EType: 0, KVNO: 5, Cipher: []byte("krbASN.1 test message")}
	name, athena := Principal(1, "hftsai", "extra"), "ATHENA.MIT.EDU"
	tkt := Ticket{athena, name, data}
	want := KDCReq{
		MsgType: MsgASReq, PAData: MethodData{{13, []byte("pa-data")}, {13, []byte("pa-data")}},
		Options: 0xfedcba90, CName: name, Realm: athena, SName: name, From: when, Till: when, RTime: when, Nonce: 42,
		ETypes: []int32{0, 1}, Addresses: []HostAddress{{2, []byte{18, 208, 0, 35}}, {2, []byte{18, 208, 0, 35}}},
		EncAuthData: data, AdditionalTickets: []Ticket{tkt, tkt},
	}
	q.RawBody = nil
	if !reflect.DeepEqual(q, want) {
		t.Errorf("%+v, want\n%+v", q, want)
	}
}

func marshal(t *testing.T, m interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGokrb5Requests decodes what gokrb5 builds and encodes it alike.
func TestGokrb5Requests(t *testing.T) {
	c := config.New()
	c.LibDefaults.DefaultRealm = realm
	c.LibDefaults.Forwardable, c.LibDefaults.RenewLifetime, c.LibDefaults.NoAddresses = true, time.Hour, false
	cname := types.NewPrincipalName(nametype.KRB_NT_PRINCIPAL, "zoë")
	as, err := messages.NewASReqForTGT(realm, c, cname)
	if err != nil {
		t.Fatal(err)
	}
	as.PAData = types.PADataSequence{{PADataType: PAEncTimestamp, PADataValue: []byte("stamp")}}
	asWire := marshal(t, &as)
	var q KDCReq
	if err := q.Unmarshal(asWire); err != nil {
		t.Fatal(err)
	}
	if got := Encode(&q); !bytes.Equal(got, asWire) {
		t.Errorf("AS-REQ encodes as\n%x, not\n%x", got, asWire)
	}
	if q.MsgType != MsgASReq || q.CName.String() != "zoë" || q.SName.String() != "krbtgt/"+realm || q.Realm != realm ||
		q.Nonce != int64(as.ReqBody.Nonce) || !reflect.DeepEqual(q.ETypes, as.ReqBody.EType) || !q.Till.Equal(as.ReqBody.Till.Truncate(time.Second)) ||
		!q.RTime.Equal(as.ReqBody.RTime.Truncate(time.Second)) || q.Options&OptForwardable == 0 || len(q.Addresses) != len(as.ReqBody.Addresses) {
		t.Errorf("%+v\n%+v", q, as)
	}

	tkt := messages.Ticket{TktVNO: 5, Realm: realm, SName: types.NewPrincipalName(2, "krbtgt/"+realm),
		EncPart: types.EncryptedData{EType: 18, KVNO: 2, Cipher: []byte("ticket")}}
	key := types.EncryptionKey{KeyType: 18, KeyValue: make([]byte, 32)}
	tgs, err := messages.NewUser2UserTGSReq(cname, realm, c, tkt, key, types.NewPrincipalName(2, "HTTP/web."+realm), false, tkt)
	if err != nil {
		t.Fatal(err)
	}
	tgsWire := marshal(t, &tgs)
	if err := q.Unmarshal(tgsWire); err != nil {
		t.Fatal(err)
	}
	if got := Encode(&q); !bytes.Equal(got, tgsWire) {
		t.Errorf("TGS-REQ encodes as\n%x, not\n%x", got, tgsWire)
	}
	body, err := tgs.ReqBody.Marshal()
	if err != nil || !bytes.Equal(q.RawBody, body) {
		t.Errorf("%v: body\n%x, not\n%x", err, q.RawBody, body)
	}
	value, _ := q.PAData.Find(PATGSReq)
	var ap APReq
	if err := ap.Unmarshal(value); err != nil || ap.Ticket.EncPart.KVNO != 2 || q.MsgType != MsgTGSReq || len(q.AdditionalTickets) != 1 {
		t.Errorf("%v: %+v", err, ap)
	}
	if got := Encode(&ap); !bytes.Equal(got, value) {
		t.Errorf("AP-REQ encodes as\n%x, not\n%x", got, value)
	}
}

// TestGokrb5Decodes gives gokrb5 every full sample that it has a decoder for.
// Where it has an encoder too, that must give our bytes back.
func TestGokrb5Decodes(t *testing.T) {
	type decoder interface{ Unmarshal([]byte) error }
	into := map[string]decoder{
		"TGS-REQ": new(messages.TGSReq), "AS-REP": new(messages.ASRep), "TGS-REP": new(messages.TGSRep),
		"EncASRepPart": new(messages.EncKDCRepPart), "EncTGSRepPart": new(messages.EncKDCRepPart),
		"Ticket": new(messages.Ticket), "EncTicketPart": new(messages.EncTicketPart), "AP-REQ": new(messages.APReq),
		"Authenticator": new(types.Authenticator), "AP-REP": new(messages.APRep), "EncAPRepPart": new(messages.EncAPRepPart),
		"KRB-PRIV": new(messages.KRBPriv), "EncKrbPrivPart": new(messages.EncKrbPrivPart), "KRB-ERROR": new(messages.KRBError),
		"METHOD-DATA": new(types.PADataSequence), "ETYPE-INFO2": new(types.ETypeInfo2), "ETYPE-INFO": new(types.ETypeInfo),
		"PA-ENC-TS-ENC": new(types.PAEncTSEnc), "AuthorizationData": new(types.AuthorizationData), "AS-REQ": new(messages.ASReq),
	}
	for _, k := range kinds() {
		d := into[k.name]
		if d == nil {
			continue
		}
		delete(into, k.name)
		wire := Encode(k.full)
		if err := d.Unmarshal(wire); err != nil {
			t.Errorf("%s: gokrb5: %v\n%x", k.name, err, wire)
			continue
		}
		// gokrb5 encodes EncTGSRepPart under the other tag, and leaves the
		// empty padata value in place.
		if m, ok := d.(interface{ Marshal() ([]byte, error) }); ok && k.name != "EncTGSRepPart" {
			got, err := m.Marshal()
			if err != nil || !bytes.Equal(got, wire) {
				t.Errorf("%s: %v: gokrb5 encodes as\n%x, we\n%x", k.name, err, got, wire)
			}
		}
		switch g := d.(type) {
		case *messages.EncTicketPart:
			var inner types.AuthorizationData
			if err := inner.Unmarshal(g.AuthorizationData[0].ADData); err != nil || len(inner) != 1 || inner[0].ADType != ADWin2kPAC ||
				string(inner[0].ADData) != "a PAC" || g.CRealm != realm || g.CName.PrincipalNameString() != "zoë" ||
				!bytes.Equal(g.Key.KeyValue, someKey.Expose()) || !g.EndTime.Equal(someTime.Add(time.Hour)) {
				t.Errorf("gokrb5 reads %+v", g)
			}
		case *messages.KRBError:
			if g.ErrorCode != 25 || g.Cusec != 4 || g.Susec != 5 || !g.CTime.Equal(someTime) || g.EText != "text" || string(g.EData) != "data" {
				t.Errorf("gokrb5 reads %+v", g)
			}
		case *types.Authenticator:
			if g.Cusec != 999999 || !g.CTime.Equal(someTime) || g.SeqNumber != 1<<32-1 || g.Cksum.CksumType != 16 {
				t.Errorf("gokrb5 reads %+v", g)
			}
		case *messages.EncKDCRepPart:
			if g.Nonce != 1<<32-1 || len(g.LastReqs) != 2 || len(g.EncPAData) != 3 || g.SName.PrincipalNameString() != "krbtgt/"+realm {
				t.Errorf("gokrb5 reads %+v", g)
			}
		}
	}
	if len(into) != 0 {
		t.Errorf("no sample of %v", into)
	}
}

// TestGokrb5Encodes decodes what gokrb5's structures give through its ASN.1
// package.
func TestGokrb5Encodes(t *testing.T) {
	flags := types.NewKrbFlags()
	types.SetFlag(&flags, 1)
	part := messages.EncTicketPart{
		Flags: flags, Key: types.EncryptionKey{KeyType: 17, KeyValue: []byte("0123456789abcdef")}, CRealm: realm,
		CName: types.NewPrincipalName(1, "a/b"), AuthTime: someTime, EndTime: someTime,
		Transited: messages.TransitedEncoding{TRType: 1, Contents: []byte{}},
		CAddr:     types.HostAddresses{{AddrType: 2, Address: []byte{1, 2, 3, 4}}},
	}
	wire, err := asn1.Marshal(part)
	if err != nil {
		t.Fatal(err)
	}
	wire = asn1tools.AddASNAppTag(wire, 3)
	var got EncTicketPart
	if err := got.Unmarshal(wire); err != nil {
		t.Fatal(err)
	}
	want := EncTicketPart{Flags: FlagForwardable, Key: NewEncryptionKey(17, []byte("0123456789abcdef")), CRealm: realm,
		CName: Principal(1, "a", "b"), AuthTime: someTime, EndTime: someTime, Transited: TransitedEncoding{1, []byte{}},
		Addresses: []HostAddress{{2, []byte{1, 2, 3, 4}}}}
	if !reflect.DeepEqual(got, want) || !bytes.Equal(Encode(&got), wire) {
		t.Errorf("%+v, want\n%+v", got, want)
	}

	krbErr := messages.NewKRBError(types.NewPrincipalName(2, "krbtgt/"+realm), realm, 25, "why")
	b, err := krbErr.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var e Error
	if err := e.Unmarshal(b); err != nil || e.Code != ErrPreauthRequired || e.EText != "why" || e.SName.String() != "krbtgt/"+realm ||
		e.STime.Unix() != krbErr.STime.Unix() || e.STime.Nanosecond()/1000 != krbErr.Susec {
		t.Errorf("%v: %+v", err, e)
	}
}
