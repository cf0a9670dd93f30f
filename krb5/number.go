package krb5

// Message types, which are the application tags as well (RFC 4120 §7.5.7).
const (
	MsgASReq  = 10
	MsgASRep  = 11
	MsgTGSReq = 12
	MsgTGSRep = 13
	MsgAPReq  = 14
	MsgAPRep  = 15
	MsgSafe   = 20
	MsgPriv   = 21
	MsgCred   = 22
	MsgError  = 30
)

// Application tags of what is no message by itself (RFC 4120 §5.10).
const (
	tagTicket         = 1
	tagAuthenticator  = 2
	tagEncTicketPart  = 3
	tagEncASRepPart   = 25
	tagEncTGSRepPart  = 26
	tagEncAPRepPart   = 27
	tagEncKrbPrivPart = 28
)

// Pre-authentication data types (RFC 4120 §7.5.2, RFC 6113, RFC 8070,
// [MS-KILE] §2.2, [MS-SFU] §2.2).
const (
	PATGSReq             int32 = 1
	PAEncTimestamp       int32 = 2
	PAPWSalt             int32 = 3
	PAETypeInfo          int32 = 11
	PAPKASReq            int32 = 16
	PAPKASRep            int32 = 17
	PAETypeInfo2         int32 = 19
	PASvrReferralInfo    int32 = 20
	PAPACRequest         int32 = 128
	PAForUser            int32 = 129
	PAS4UX509User        int32 = 130
	PAASChecksum         int32 = 132
	PAFXCookie           int32 = 133
	PAFXFast             int32 = 136
	PAFXError            int32 = 137
	PAEncryptedChallenge int32 = 138
	PAPKINITKX           int32 = 147
	PAReqEncPARep        int32 = 149
	PAASFreshness        int32 = 150
	PASPAKE              int32 = 151
	PAKeyListReq         int32 = 161
	PAKeyListRep         int32 = 162
	PASupportedEncTypes  int32 = 165
	PAExtendedError      int32 = 166
	PAPACOptions         int32 = 167
)

// TicketFlags are the flags of a ticket, bit 0 as the highest (RFC 4120 §5.3).
type TicketFlags uint32

// The flags of a ticket. The lower sixteen bits belong to later documents:
// enc-pa-rep is RFC 6806 §11, anonymous RFC 8062.
const (
	FlagForwardable     TicketFlags = 1 << (31 - 1)
	FlagForwarded       TicketFlags = 1 << (31 - 2)
	FlagProxiable       TicketFlags = 1 << (31 - 3)
	FlagProxy           TicketFlags = 1 << (31 - 4)
	FlagMayPostdate     TicketFlags = 1 << (31 - 5)
	FlagPostdated       TicketFlags = 1 << (31 - 6)
	FlagInvalid         TicketFlags = 1 << (31 - 7)
	FlagRenewable       TicketFlags = 1 << (31 - 8)
	FlagInitial         TicketFlags = 1 << (31 - 9)
	FlagPreAuthent      TicketFlags = 1 << (31 - 10)
	FlagHWAuthent       TicketFlags = 1 << (31 - 11)
	FlagTransitedPolicy TicketFlags = 1 << (31 - 12)
	FlagOKAsDelegate    TicketFlags = 1 << (31 - 13)
	FlagEncPARep        TicketFlags = 1 << (31 - 15)
	FlagAnonymous       TicketFlags = 1 << (31 - 16)
)

// KDCOptions are the options of a KDC-REQ, bit 0 as the highest (RFC 4120
// §5.4.1; canonicalize is RFC 6806 §3, cname-in-addl-tkt [MS-SFU] §2.2.3).
type KDCOptions uint32

// The options of a KDC-REQ.
const (
	OptForwardable           KDCOptions = 1 << (31 - 1)
	OptForwarded             KDCOptions = 1 << (31 - 2)
	OptProxiable             KDCOptions = 1 << (31 - 3)
	OptProxy                 KDCOptions = 1 << (31 - 4)
	OptAllowPostdate         KDCOptions = 1 << (31 - 5)
	OptPostdated             KDCOptions = 1 << (31 - 6)
	OptRenewable             KDCOptions = 1 << (31 - 8)
	OptCNameInAddlTkt        KDCOptions = 1 << (31 - 14)
	OptCanonicalize          KDCOptions = 1 << (31 - 15)
	OptRequestAnonymous      KDCOptions = 1 << (31 - 16)
	OptDisableTransitedCheck KDCOptions = 1 << (31 - 26)
	OptRenewableOK           KDCOptions = 1 << (31 - 27)
	OptEncTktInSKey          KDCOptions = 1 << (31 - 28)
	OptRenew                 KDCOptions = 1 << (31 - 30)
	OptValidate              KDCOptions = 1 << 0
)

// Options of an AP-REQ (RFC 4120 §5.5.1).
const (
	APOptUseSessionKey  uint32 = 1 << (31 - 1)
	APOptMutualRequired uint32 = 1 << (31 - 2)
)

// Options in PA-PAC-OPTIONS ([MS-KILE] §2.2.10).
const (
	PACOptClaims           uint32 = 1 << (31 - 0)
	PACOptBranchAware      uint32 = 1 << (31 - 1)
	PACOptForwardToFullDC  uint32 = 1 << (31 - 2)
	PACOptResourceBasedS4U uint32 = 1 << (31 - 3)
)

// Key usage numbers (RFC 4120 §7.5.1, RFC 6113, RFC 6806 §11, RFC 8062 §7,
// [MS-PAC] §2.8).
const (
	UsageASReqTimestamp         uint32 = 1
	UsageTicket                 uint32 = 2
	UsageASRepPart              uint32 = 3
	UsageTGSReqAuthDataSession  uint32 = 4
	UsageTGSReqAuthDataSubkey   uint32 = 5
	UsageTGSReqChecksum         uint32 = 6
	UsageTGSReqAuthenticator    uint32 = 7
	UsageTGSRepPartSession      uint32 = 8
	UsageTGSRepPartSubkey       uint32 = 9
	UsageAPReqChecksum          uint32 = 10
	UsageAPReqAuthenticator     uint32 = 11
	UsageAPRepPart              uint32 = 12
	UsagePriv                   uint32 = 13
	UsageCred                   uint32 = 14
	UsageSafeChecksum           uint32 = 15
	UsagePACChecksum            uint32 = 17
	UsageGSSAcceptorSeal        uint32 = 22
	UsageGSSAcceptorSign        uint32 = 23
	UsageGSSInitiatorSeal       uint32 = 24
	UsageGSSInitiatorSign       uint32 = 25
	UsageS4UX509Request         uint32 = 26 // [MS-SFU] §2.2.2
	UsageS4UX509Reply           uint32 = 27
	UsagePKINITKX               uint32 = 44
	UsageFASTReqChecksum        uint32 = 50
	UsageFASTEncrypt            uint32 = 51
	UsageFASTReply              uint32 = 52
	UsageFASTFinished           uint32 = 53
	UsageEncryptedChallengeUser uint32 = 54
	UsageEncryptedChallengeKDC  uint32 = 55
	UsageASReq                  uint32 = 56
)

// Authorization data types (RFC 4120 §7.5.4, RFC 6113, RFC 7751, [MS-KILE]
// §2.2, RFC 4537 for the etype negotiation).
const (
	ADIfRelevant         int32 = 1
	ADIntendedForServer  int32 = 2
	ADIntendedForClass   int32 = 3
	ADKDCIssued          int32 = 4
	ADAndOr              int32 = 5
	ADMandatoryForKDC    int32 = 8
	ADInitialVerifiedCAs int32 = 9
	ADFXArmor            int32 = 71
	ADFXFASTUsed         int32 = 72
	ADAuthStrap          int32 = 70
	ADCAMMAC             int32 = 96
	ADAuthIndicator      int32 = 97
	ADWin2kPAC           int32 = 128
	ADETypeNegotiation   int32 = 129
	ADTokenRestrictions  int32 = 141
	ADLocal              int32 = 142
	ADAPOptions          int32 = 143
	ADTargetPrincipal    int32 = 144
)

// Types of last-req entries (RFC 4120 §5.4.2). A negative one tells about the
// answering server alone.
const (
	LRNone            int32 = 0
	LRLastTGT         int32 = 1
	LRLastInitial     int32 = 2
	LRNewestTGT       int32 = 3
	LRLastRenewal     int32 = 4
	LRLastRequest     int32 = 5
	LRPasswordExpires int32 = 6
	LRAccountExpires  int32 = 7
)

// Address types (RFC 4120 §7.5.3). Windows clients send their NetBIOS name; a
// directional address says who of the two speaks (§7.1).
const (
	AddrIPv4        int32 = 2
	AddrDirectional int32 = 3
	AddrNetBIOS     int32 = 20
	AddrIPv6        int32 = 24
)

// TransitedX500Compress is the one transited encoding (RFC 4120 §3.3.3.2).
const TransitedX500Compress int32 = 1
