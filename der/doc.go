// Package der reads and writes the definite-length forms of ASN.1 BER and DER
// that Kerberos, LDAP and GSS use.
//
// A [Reader] walks a byte slice without copying: what it hands out points into
// the slice it was given. A [Writer] fills one buffer from its end towards its
// front, so that a length is known before its header is written and no part of
// a message is ever moved or measured twice.
//
// Only single-byte tags (numbers up to 30) and definite lengths exist here; no
// protocol of this program needs more, and the rest of BER is where decoders
// break (CVE-2020-28196). Nesting deeper than [MaxDepth] ends the reading.
//
// References: ITU-T X.690 §8 (BER), §10–11 (DER).
package der
