package krb5

import "strconv"

// ErrorCode is the error-code of a KRB-ERROR (RFC 4120 §7.5.9, RFC 4556 §4,
// RFC 8636 §5, RFC 6113 §7). It is an error by itself, and errors.Is finds it in an *Error.
type ErrorCode int32

// The error codes.
const (
	ErrNone                  ErrorCode = 0
	ErrNameExpired           ErrorCode = 1
	ErrServiceExpired        ErrorCode = 2
	ErrBadPVNO               ErrorCode = 3
	ErrCOldMasterKVNO        ErrorCode = 4
	ErrSOldMasterKVNO        ErrorCode = 5
	ErrCPrincipalUnknown     ErrorCode = 6
	ErrSPrincipalUnknown     ErrorCode = 7
	ErrPrincipalNotUnique    ErrorCode = 8
	ErrNullKey               ErrorCode = 9
	ErrCannotPostdate        ErrorCode = 10
	ErrNeverValid            ErrorCode = 11
	ErrPolicy                ErrorCode = 12
	ErrBadOption             ErrorCode = 13
	ErrETypeNoSupp           ErrorCode = 14
	ErrSumTypeNoSupp         ErrorCode = 15
	ErrPADataTypeNoSupp      ErrorCode = 16
	ErrTrTypeNoSupp          ErrorCode = 17
	ErrClientRevoked         ErrorCode = 18
	ErrServiceRevoked        ErrorCode = 19
	ErrTGTRevoked            ErrorCode = 20
	ErrClientNotYet          ErrorCode = 21
	ErrServiceNotYet         ErrorCode = 22
	ErrKeyExpired            ErrorCode = 23
	ErrPreauthFailed         ErrorCode = 24
	ErrPreauthRequired       ErrorCode = 25
	ErrServerNoMatch         ErrorCode = 26
	ErrMustUseUser2User      ErrorCode = 27
	ErrPathNotAccepted       ErrorCode = 28
	ErrSvcUnavailable        ErrorCode = 29
	ErrBadIntegrity          ErrorCode = 31
	ErrTktExpired            ErrorCode = 32
	ErrTktNYV                ErrorCode = 33
	ErrRepeat                ErrorCode = 34
	ErrNotUs                 ErrorCode = 35
	ErrBadMatch              ErrorCode = 36
	ErrSkew                  ErrorCode = 37
	ErrBadAddr               ErrorCode = 38
	ErrBadVersion            ErrorCode = 39
	ErrMsgType               ErrorCode = 40
	ErrModified              ErrorCode = 41
	ErrBadOrder              ErrorCode = 42
	ErrBadKeyVer             ErrorCode = 44
	ErrNoKey                 ErrorCode = 45
	ErrMutFail               ErrorCode = 46
	ErrBadDirection          ErrorCode = 47
	ErrMethod                ErrorCode = 48
	ErrBadSeq                ErrorCode = 49
	ErrInappCksum            ErrorCode = 50
	ErrAPPathNotAccepted     ErrorCode = 51
	ErrResponseTooBig        ErrorCode = 52
	ErrGeneric               ErrorCode = 60
	ErrFieldTooLong          ErrorCode = 61
	ErrClientNotTrusted      ErrorCode = 62
	ErrKDCNotTrusted         ErrorCode = 63
	ErrInvalidSig            ErrorCode = 64
	ErrDHParamNotAccepted    ErrorCode = 65
	ErrCertificateMismatch   ErrorCode = 66
	ErrNoTGT                 ErrorCode = 67
	ErrWrongRealm            ErrorCode = 68
	ErrUserToUserRequired    ErrorCode = 69
	ErrCantVerifyCertificate ErrorCode = 70
	ErrInvalidCertificate    ErrorCode = 71
	ErrRevokedCertificate    ErrorCode = 72
	ErrRevocationUnknown     ErrorCode = 73
	ErrRevocationUnavailable ErrorCode = 74
	ErrClientNameMismatch    ErrorCode = 75
	ErrKDCNameMismatch       ErrorCode = 76
	ErrInconsistentPurpose   ErrorCode = 77
	ErrDigestInCert          ErrorCode = 78
	ErrPAChecksumMissing     ErrorCode = 79
	ErrDigestInSignedData    ErrorCode = 80
	ErrPublicKeyEncryption   ErrorCode = 81
	ErrNoAcceptableKDF       ErrorCode = 82
	ErrPreauthExpired        ErrorCode = 90
	ErrMorePreauthRequired   ErrorCode = 91
	ErrPreauthBadAuthSet     ErrorCode = 92
	ErrUnknownFASTOption     ErrorCode = 93
)

var errorNames = map[ErrorCode]string{
	ErrNone:                  "KDC_ERR_NONE",
	ErrNameExpired:           "KDC_ERR_NAME_EXP",
	ErrServiceExpired:        "KDC_ERR_SERVICE_EXP",
	ErrBadPVNO:               "KDC_ERR_BAD_PVNO",
	ErrCOldMasterKVNO:        "KDC_ERR_C_OLD_MAST_KVNO",
	ErrSOldMasterKVNO:        "KDC_ERR_S_OLD_MAST_KVNO",
	ErrCPrincipalUnknown:     "KDC_ERR_C_PRINCIPAL_UNKNOWN",
	ErrSPrincipalUnknown:     "KDC_ERR_S_PRINCIPAL_UNKNOWN",
	ErrPrincipalNotUnique:    "KDC_ERR_PRINCIPAL_NOT_UNIQUE",
	ErrNullKey:               "KDC_ERR_NULL_KEY",
	ErrCannotPostdate:        "KDC_ERR_CANNOT_POSTDATE",
	ErrNeverValid:            "KDC_ERR_NEVER_VALID",
	ErrPolicy:                "KDC_ERR_POLICY",
	ErrBadOption:             "KDC_ERR_BADOPTION",
	ErrETypeNoSupp:           "KDC_ERR_ETYPE_NOSUPP",
	ErrSumTypeNoSupp:         "KDC_ERR_SUMTYPE_NOSUPP",
	ErrPADataTypeNoSupp:      "KDC_ERR_PADATA_TYPE_NOSUPP",
	ErrTrTypeNoSupp:          "KDC_ERR_TRTYPE_NOSUPP",
	ErrClientRevoked:         "KDC_ERR_CLIENT_REVOKED",
	ErrServiceRevoked:        "KDC_ERR_SERVICE_REVOKED",
	ErrTGTRevoked:            "KDC_ERR_TGT_REVOKED",
	ErrClientNotYet:          "KDC_ERR_CLIENT_NOTYET",
	ErrServiceNotYet:         "KDC_ERR_SERVICE_NOTYET",
	ErrKeyExpired:            "KDC_ERR_KEY_EXPIRED",
	ErrPreauthFailed:         "KDC_ERR_PREAUTH_FAILED",
	ErrPreauthRequired:       "KDC_ERR_PREAUTH_REQUIRED",
	ErrServerNoMatch:         "KDC_ERR_SERVER_NOMATCH",
	ErrMustUseUser2User:      "KDC_ERR_MUST_USE_USER2USER",
	ErrPathNotAccepted:       "KDC_ERR_PATH_NOT_ACCEPTED",
	ErrSvcUnavailable:        "KDC_ERR_SVC_UNAVAILABLE",
	ErrBadIntegrity:          "KRB_AP_ERR_BAD_INTEGRITY",
	ErrTktExpired:            "KRB_AP_ERR_TKT_EXPIRED",
	ErrTktNYV:                "KRB_AP_ERR_TKT_NYV",
	ErrRepeat:                "KRB_AP_ERR_REPEAT",
	ErrNotUs:                 "KRB_AP_ERR_NOT_US",
	ErrBadMatch:              "KRB_AP_ERR_BADMATCH",
	ErrSkew:                  "KRB_AP_ERR_SKEW",
	ErrBadAddr:               "KRB_AP_ERR_BADADDR",
	ErrBadVersion:            "KRB_AP_ERR_BADVERSION",
	ErrMsgType:               "KRB_AP_ERR_MSG_TYPE",
	ErrModified:              "KRB_AP_ERR_MODIFIED",
	ErrBadOrder:              "KRB_AP_ERR_BADORDER",
	ErrBadKeyVer:             "KRB_AP_ERR_BADKEYVER",
	ErrNoKey:                 "KRB_AP_ERR_NOKEY",
	ErrMutFail:               "KRB_AP_ERR_MUT_FAIL",
	ErrBadDirection:          "KRB_AP_ERR_BADDIRECTION",
	ErrMethod:                "KRB_AP_ERR_METHOD",
	ErrBadSeq:                "KRB_AP_ERR_BADSEQ",
	ErrInappCksum:            "KRB_AP_ERR_INAPP_CKSUM",
	ErrAPPathNotAccepted:     "KRB_AP_PATH_NOT_ACCEPTED",
	ErrResponseTooBig:        "KRB_ERR_RESPONSE_TOO_BIG",
	ErrGeneric:               "KRB_ERR_GENERIC",
	ErrFieldTooLong:          "KRB_ERR_FIELD_TOOLONG",
	ErrClientNotTrusted:      "KDC_ERR_CLIENT_NOT_TRUSTED",
	ErrKDCNotTrusted:         "KDC_ERR_KDC_NOT_TRUSTED",
	ErrInvalidSig:            "KDC_ERR_INVALID_SIG",
	ErrDHParamNotAccepted:    "KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED",
	ErrCertificateMismatch:   "KDC_ERR_CERTIFICATE_MISMATCH",
	ErrNoTGT:                 "KRB_AP_ERR_NO_TGT",
	ErrWrongRealm:            "KDC_ERR_WRONG_REALM",
	ErrUserToUserRequired:    "KRB_AP_ERR_USER_TO_USER_REQUIRED",
	ErrCantVerifyCertificate: "KDC_ERR_CANT_VERIFY_CERTIFICATE",
	ErrInvalidCertificate:    "KDC_ERR_INVALID_CERTIFICATE",
	ErrRevokedCertificate:    "KDC_ERR_REVOKED_CERTIFICATE",
	ErrRevocationUnknown:     "KDC_ERR_REVOCATION_STATUS_UNKNOWN",
	ErrRevocationUnavailable: "KDC_ERR_REVOCATION_STATUS_UNAVAILABLE",
	ErrClientNameMismatch:    "KDC_ERR_CLIENT_NAME_MISMATCH",
	ErrKDCNameMismatch:       "KDC_ERR_KDC_NAME_MISMATCH",
	ErrInconsistentPurpose:   "KDC_ERR_INCONSISTENT_KEY_PURPOSE",
	ErrDigestInCert:          "KDC_ERR_DIGEST_IN_CERT_NOT_ACCEPTED",
	ErrPAChecksumMissing:     "KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED",
	ErrDigestInSignedData:    "KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED",
	ErrPublicKeyEncryption:   "KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED",
	ErrNoAcceptableKDF:       "KDC_ERR_NO_ACCEPTABLE_KDF",
	ErrPreauthExpired:        "KDC_ERR_PREAUTH_EXPIRED",
	ErrMorePreauthRequired:   "KDC_ERR_MORE_PREAUTH_DATA_REQUIRED",
	ErrPreauthBadAuthSet:     "KDC_ERR_PREAUTH_BAD_AUTHENTICATION_SET",
	ErrUnknownFASTOption:     "KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS",
}

// String returns the name that the RFC gives the code.
func (c ErrorCode) String() string {
	if name, ok := errorNames[c]; ok {
		return name
	}
	return "KRB_ERR_" + strconv.Itoa(int(c))
}

func (c ErrorCode) Error() string { return c.String() }
