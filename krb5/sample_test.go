package krb5

import (
	"time"

	"skyrealm/der"
)

// message is what every decoder of the package can do.
type message interface {
	Marshaler
	Unmarshal([]byte) error
}

// reqBody is a KDCReq taken as its body alone.
type reqBody struct{ KDCReq }

func (b *reqBody) Marshal(w *der.Writer)    { b.MarshalBody(w) }
func (b *reqBody) Unmarshal(p []byte) error { return b.UnmarshalBody(p) }

// kind is one kind of message: an empty one, one with every field, and which
// fields of its outermost SEQUENCE are optional.
type kind struct {
	name     string
	empty    func() message
	full     message
	optional []int
}

var (
	someTime = time.Date(2026, 11, 21, 1, 2, 3, 0, time.UTC)
	someName = Principal(NTPrincipal, "zoë")
	someSPN  = Principal(NTSrvInst, "krbtgt", "AADDS.CONTOSO.TEST")
	someKey  = NewEncryptionKey(18, []byte("0123456789abcdef0123456789abcdef"))
	someAddr = []HostAddress{{AddrIPv4, []byte{192, 0, 2, 1}}, {AddrNetBIOS, []byte("HOST            ")}}
	someData = EncryptedData{EType: 18, KVNO: 1<<32 - 1, Cipher: []byte("not the plaintext")}
	someAD   = AuthorizationData{{ADIfRelevant, []byte{0x30, 0}}, {-7, []byte("x")}}
	somePA   = MethodData{{PAEncTimestamp, []byte("a")}, {PAPACRequest, []byte{0x30, 5, 0xa0, 3, 1, 1, 0xff}}, {-1, []byte{}}}
	someTkt  = Ticket{Realm: "AADDS.CONTOSO.TEST", SName: someSPN, EncPart: someData}
)

const realm = "AADDS.CONTOSO.TEST"

func micro(t time.Time, us int) time.Time { return t.Add(time.Duration(us) * time.Microsecond) }

func fullReq(msgType int) KDCReq {
	return KDCReq{
		MsgType: msgType, PAData: somePA,
		Options: OptForwardable | OptRenewable | OptCanonicalize | OptValidate,
		CName:   someName, Realm: realm, SName: someSPN,
		From: someTime, Till: someTime.Add(time.Hour), RTime: someTime.Add(2 * time.Hour), Nonce: -5,
		ETypes: []int32{18, 17, 20, 19, 23, -135}, Addresses: someAddr, EncAuthData: someData,
		AdditionalTickets: []Ticket{someTkt, someTkt},
	}
}

func fullRepPart(msgType int) *EncKDCRepPart {
	return &EncKDCRepPart{
		MsgType: msgType, Key: someKey, LastReq: []LastReq{{LRNone, someTime}, {LRPasswordExpires, someTime}},
		Nonce: 1<<32 - 1, KeyExpiration: someTime, Flags: FlagForwardable | FlagInitial | FlagPreAuthent,
		AuthTime: someTime, StartTime: someTime, EndTime: someTime.Add(time.Hour), RenewTill: someTime.Add(2 * time.Hour),
		SRealm: realm, SName: someSPN, Addresses: someAddr, EncPAData: somePA,
	}
}

func kinds() []kind {
	as, tgs, body := fullReq(MsgASReq), fullReq(MsgTGSReq), fullReq(0)
	body.PAData = nil
	return []kind{
		{"AS-REQ", func() message { return new(KDCReq) }, &as, []int{3}},
		{"TGS-REQ", func() message { return new(KDCReq) }, &tgs, []int{3}},
		{"KDC-REQ-BODY", func() message { return new(reqBody) }, &reqBody{body}, []int{1, 3, 4, 6, 9, 10, 11}},
		{"AS-REP", func() message { return new(KDCRep) }, &KDCRep{MsgASRep, somePA, realm, someName, someTkt, someData}, []int{2}},
		{"TGS-REP", func() message { return new(KDCRep) }, &KDCRep{MsgTGSRep, somePA, realm, someName, someTkt, someData}, []int{2}},
		{"EncASRepPart", func() message { return new(EncKDCRepPart) }, fullRepPart(MsgASRep), []int{3, 6, 8, 11, 12}},
		{"EncTGSRepPart", func() message { return new(EncKDCRepPart) }, fullRepPart(MsgTGSRep), []int{3, 6, 8, 11, 12}},
		{"Ticket", func() message { return new(Ticket) }, &someTkt, nil},
		{"EncTicketPart", func() message { return new(EncTicketPart) }, &EncTicketPart{
			Flags: FlagForwardable | FlagEncPARep, Key: someKey, CRealm: realm, CName: someName,
			Transited: TransitedEncoding{TransitedX500Compress, []byte("EDU,MIT.")}, AuthTime: someTime, StartTime: someTime,
			EndTime: someTime.Add(time.Hour), RenewTill: someTime.Add(2 * time.Hour), Addresses: someAddr,
			PAC: []byte("a PAC"), AuthData: someAD,
		}, []int{6, 8, 9, 10}},
		{"AP-REQ", func() message { return new(APReq) }, &APReq{APOptMutualRequired, someTkt, someData}, nil},
		{"Authenticator", func() message { return new(Authenticator) }, &Authenticator{
			realm, someName, Checksum{16, []byte("sum")}, micro(someTime, 999999), someKey, 1<<32 - 1, someAD,
		}, []int{3, 6, 7, 8}},
		{"AP-REP", func() message { return new(APRep) }, &APRep{someData}, nil},
		{"EncAPRepPart", func() message { return new(EncAPRepPart) }, &EncAPRepPart{micro(someTime, 1), someKey, 17}, []int{2, 3}},
		{"KRB-PRIV", func() message { return new(Priv) }, &Priv{someData}, nil},
		{"EncKrbPrivPart", func() message { return new(EncPrivPart) }, &EncPrivPart{
			NewSecret([]byte("user data")), micro(someTime, 12), 9, someAddr[0], someAddr[1],
		}, []int{1, 2, 3, 5}},
		{"KRB-ERROR", func() message { return new(Error) }, &Error{
			micro(someTime, 4), micro(someTime, 5), ErrPreauthRequired, realm, someName, realm, someSPN, "text", []byte("data"),
		}, []int{2, 3, 7, 8, 11, 12}},
		{"EncryptedData", func() message { return new(EncryptedData) }, &someData, []int{1}},
		{"METHOD-DATA", func() message { return new(MethodData) }, &somePA, nil},
		{"ETYPE-INFO2", func() message { return new(ETypeInfo2) }, &ETypeInfo2{
			{18, "CONTOSO.TESTzoë", false, []byte{0, 0, 16, 0}}, {17, "", false, nil}, {23, "", true, nil},
		}, nil},
		{"ETYPE-INFO", func() message { return new(ETypeInfo) }, &ETypeInfo{{18, "salt", false, nil}, {3, "", false, nil}, {23, "", true, nil}}, nil},
		{"PA-ENC-TS-ENC", func() message { return new(PAEncTSEnc) }, &PAEncTSEnc{micro(someTime, 123456)}, []int{1}},
		{"KERB-PA-PAC-REQUEST", func() message { return new(PACRequest) }, ptr(PACRequest(true)), nil},
		{"PA-PAC-OPTIONS", func() message { return new(PACOptions) }, ptr(PACOptions(PACOptClaims | PACOptResourceBasedS4U)), nil},
		{"PA-SUPPORTED-ENCTYPES", func() message { return new(SupportedEncTypes) }, ptr(SupportedAES128 | SupportedNoSIDCompression), nil},
		{"PA-FX-FAST-REQUEST", func() message { return new(FASTArmoredReq) }, &FASTArmoredReq{
			ArmorAPRequest, []byte("AP-REQ"), Checksum{16, []byte("sum")}, someData,
		}, []int{0}},
		{"KrbFastReq", func() message { return new(FASTReq) }, &FASTReq{FASTHideClientNames, somePA, []byte{0x30, 2, 5, 0}}, nil},
		{"PA-FX-FAST-REPLY", func() message { return new(FASTArmoredRep) }, &FASTArmoredRep{someData}, nil},
		{"KrbFastResponse", func() message { return new(FASTResponse) }, &FASTResponse{somePA, someKey, &FASTFinished{
			micro(someTime, 123456), realm, someName, Checksum{16, []byte("sum")},
		}, -7}, []int{1, 2}},
		{"PA-FOR-USER", func() message { return new(ForUser) }, &ForUser{someName, realm, Checksum{-138, []byte("0123456789abcdef")}, "Kerberos"}, nil},
		{"PA-S4U-X509-USER", func() message { return new(S4UX509User) }, &S4UX509User{
			Nonce: 1<<32 - 1, Name: someName, Realm: realm, Certificate: []byte("a certificate"),
			Options: S4UCheckLogonHours | S4UReplyKeyUsage, Checksum: Checksum{16, []byte("sum")},
		}, nil},
		{"KERB-ERROR-DATA", func() message { return new(ExtError) }, ptr(ExtError(0xc000006e)), nil},
		{"AuthorizationData", func() message { return new(AuthorizationData) }, &someAD, nil},
		{"ChangePasswdData", func() message { return new(ChangePasswdData) }, &ChangePasswdData{NewSecret([]byte("pässwörd")), someName, realm}, []int{1, 2}},
		{"KDC-PROXY-MESSAGE", func() message { return new(ProxyMessage) }, &ProxyMessage{[]byte("a message"), realm, 1<<31 - 1}, []int{1, 2}},
	}
}

func ptr[T any](v T) *T { return &v }
