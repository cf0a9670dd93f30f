// Package ldapmsg is LDAP's wire codec: it cuts a stream into messages, decodes
// requests, and encodes responses.
//
// Decoding trusts nothing. Lengths are checked before anything is allocated,
// and the number of controls, filter nodes, attributes and values has a limit,
// because two bytes of packet can be fifty of memory. What a decoded request
// holds is its own, with one exception that [BindRequest] tells.
//
// Encoding appends to a buffer, so that a session can gather many entries and
// write them at once.
//
// Reference: RFC 4511.
package ldapmsg
