package ldapmsg

import (
	"errors"

	"skyrealm/der"
)

// Limits of one request.
const (
	MaxControls    = 10        // CVE-2026-9064
	MaxSearch      = 256 << 10 // bytes of a search request, also after bind
	MaxFilterNodes = 8 << 10
	MaxAttributes  = 1000     // that a search asks for
	MaxValues      = 64 << 10 // attributes and values together, of add and modify
)

// Errors of reading and decoding. Beside them stand dit.ErrFilterDepth and the
// errors of the stream.
var (
	// ErrNotLDAP is a stream that does not begin like LDAP: HTTP, TLS, SSH.
	ErrNotLDAP = errors.New("ldapmsg: not LDAP")
	// ErrMalformed is a message that breaks RFC 4511: protocolError.
	ErrMalformed = errors.New("ldapmsg: malformed message")
	// ErrTooLarge is a message past a limit in size or number.
	ErrTooLarge = errors.New("ldapmsg: message too large")
	// ErrTooManyControls is a request with more than MaxControls: protocolError.
	ErrTooManyControls = errors.New("ldapmsg: too many controls")
	// ErrUnknownOp is a message that is no request: protocolError.
	ErrUnknownOp = errors.New("ldapmsg: unknown operation")
)

// Op is the tag of an operation (RFC 4511 §4.2 to §4.13).
type Op = der.Tag

// The operations.
const (
	OpBindRequest      Op = 0x60
	OpBindResponse     Op = 0x61
	OpUnbindRequest    Op = 0x42
	OpSearchRequest    Op = 0x63
	OpSearchEntry      Op = 0x64
	OpSearchDone       Op = 0x65
	OpSearchReference  Op = 0x73
	OpModifyRequest    Op = 0x66
	OpModifyResponse   Op = 0x67
	OpAddRequest       Op = 0x68
	OpAddResponse      Op = 0x69
	OpDeleteRequest    Op = 0x4a
	OpDeleteResponse   Op = 0x6b
	OpModifyDNRequest  Op = 0x6c
	OpModifyDNResponse Op = 0x6d
	OpCompareRequest   Op = 0x6e
	OpCompareResponse  Op = 0x6f
	OpAbandonRequest   Op = 0x50
	OpExtendedRequest  Op = 0x77
	OpExtendedResponse Op = 0x78
)

// ResultCode is a result code (RFC 4511 §4.1.9 and appendix A).
type ResultCode int32

// The result codes.
const (
	Success                      ResultCode = 0
	OperationsError              ResultCode = 1
	ProtocolError                ResultCode = 2
	TimeLimitExceeded            ResultCode = 3
	SizeLimitExceeded            ResultCode = 4
	CompareFalse                 ResultCode = 5
	CompareTrue                  ResultCode = 6
	AuthMethodNotSupported       ResultCode = 7
	StrongerAuthRequired         ResultCode = 8
	Referral                     ResultCode = 10
	AdminLimitExceeded           ResultCode = 11
	UnavailableCriticalExtension ResultCode = 12
	ConfidentialityRequired      ResultCode = 13
	SASLBindInProgress           ResultCode = 14
	NoSuchAttribute              ResultCode = 16
	UndefinedAttributeType       ResultCode = 17
	InappropriateMatching        ResultCode = 18
	ConstraintViolation          ResultCode = 19
	AttributeOrValueExists       ResultCode = 20
	InvalidAttributeSyntax       ResultCode = 21
	NoSuchObject                 ResultCode = 32
	AliasProblem                 ResultCode = 33
	InvalidDNSyntax              ResultCode = 34
	AliasDereferencingProblem    ResultCode = 36
	InappropriateAuthentication  ResultCode = 48
	InvalidCredentials           ResultCode = 49
	InsufficientAccessRights     ResultCode = 50
	Busy                         ResultCode = 51
	Unavailable                  ResultCode = 52
	UnwillingToPerform           ResultCode = 53
	LoopDetect                   ResultCode = 54
	NamingViolation              ResultCode = 64
	ObjectClassViolation         ResultCode = 65
	NotAllowedOnNonLeaf          ResultCode = 66
	NotAllowedOnRDN              ResultCode = 67
	EntryAlreadyExists           ResultCode = 68
	ObjectClassModsProhibited    ResultCode = 69
	AffectsMultipleDSAs          ResultCode = 71
	Other                        ResultCode = 80
)

// Object identifiers of extended operations and controls.
const (
	StartTLS              = "1.3.6.1.4.1.1466.20037"  // RFC 4511 §4.14
	NoticeOfDisconnection = "1.3.6.1.4.1.1466.20036"  // RFC 4511 §4.4.1
	WhoAmI                = "1.3.6.1.4.1.4203.1.11.3" // RFC 4532
	PasswordModify        = "1.3.6.1.4.1.4203.1.11.1" // RFC 3062
	PagedResults          = "1.2.840.113556.1.4.319"  // RFC 2696
	SDFlags               = "1.2.840.113556.1.4.801"  // [MS-ADTS] §3.1.1.3.4.1.11
	ExtendedDN            = "1.2.840.113556.1.4.529"  // [MS-ADTS] §3.1.1.3.4.1.5
	DomainScope           = "1.2.840.113556.1.4.1339" // [MS-ADTS] §3.1.1.3.4.1.4
	ShowDeleted           = "1.2.840.113556.1.4.417"  // [MS-ADTS] §3.1.1.3.4.1.14
)
