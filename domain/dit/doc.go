// Package dit is LDAP's data model without a server: distinguished names,
// entries, the schema that Active Directory's clients rely on, and filters with
// their matching rules.
//
// Everything here is a value. An [Entry] does not change once it is built, and
// a [Filter] carries its assertion values already normalised, so that matching
// it against a hundred thousand entries allocates nothing per entry. Attributes
// whose values depend on other entries are asked of [Links].
//
// References: RFC 4512 (model), RFC 4514 (names), RFC 4515 and RFC 4511
// §4.5.1.7 (filters), RFC 4517 (matching rules), [MS-ADTS] §3.1.1.2 (schema and
// syntaxes) and §3.1.1.3 (what AD makes of LDAP).
package dit
