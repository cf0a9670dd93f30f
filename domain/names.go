package domain

import (
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"skyrealm/tenant"
)

// Lengths of sAMAccountName ([MS-SAMR] §3.1.1.6, EDS/synchronization) and of a
// naming attribute ([MS-ADA1] cn).
const (
	maxUserSAM  = 20
	maxGroupSAM = 256
	maxRDN      = 64
)

// reserved are names of the domain's own that no synced object may take.
var reserved = map[string]bool{"administrator": true, "guest": true, "krbtgt": true}

// cleanSAM leaves out what a sAMAccountName may not hold, and what can't be seen:
// "admin" with a zero-width space would look like another account. A $ at the end
// is a computer's mark, and a user with one could pass for it (CVE-2021-42278).
func cleanSAM(name string, most int) string {
	var b strings.Builder
	n := 0
	for _, c := range name {
		if n == most {
			break
		}
		if c == utf8.RuneError || !unicode.IsPrint(c) || strings.ContainsRune(`"/\[]:;|=,+*?<>@`, c) {
			continue
		}
		b.WriteRune(c)
		n++
	}
	return strings.Trim(strings.TrimRight(b.String(), "$. "), " ")
}

// samCandidates are the names to try for a tenant object, best first: what it
// asks for, and where that is taken or too long, a name made of it and of the
// object id, which is the same in every run.
func samCandidates(o *tenant.Object) []string {
	most := maxUserSAM
	wanted := ""
	if o.Kind == tenant.Group {
		most = maxGroupSAM
		wanted = firstOf(o.Profile.DisplayName, o.Profile.OnPremisesSAMAccountName, o.Profile.MailNickname)
	} else {
		prefix, _, _ := strings.Cut(o.UPN, "@")
		wanted = firstOf(o.Profile.MailNickname, o.Profile.OnPremisesSAMAccountName, prefix)
	}
	var out []string
	clean := cleanSAM(wanted, most+1)
	// The generated form is for names that are too long as well: cut off, two
	// of them would look alike (EDS/synchronization).
	if clean != "" && utf8.RuneCountInString(clean) <= most && !reserved[Fold(clean)] {
		out = append(out, clean)
	}
	id := hex.EncodeToString(o.ID[:])
	for _, n := range []int{6, 12} {
		out = append(out, strings.TrimRight(cleanSAM(wanted, most-n-1), ".")+"-"+id[:n])
	}
	return out
}

// rdnCandidates are the common names to try: the display name, then that with
// the account name, which is unique, beside it.
func rdnCandidates(o *tenant.Object, sam string) []string {
	name := strings.Join(strings.FieldsFunc(o.Profile.DisplayName, func(c rune) bool {
		return unicode.IsControl(c) || unicode.IsSpace(c) || c == utf8.RuneError
	}), " ")
	if name == "" {
		name = sam
	}
	out := []string{cut(name, maxRDN)}
	id := hex.EncodeToString(o.ID[:6])
	for _, beside := range []string{sam, id} {
		if rest := maxRDN - len(" ()") - utf8.RuneCountInString(beside); rest > 0 { // a group's name may take all of it
			out = append(out, cut(name, rest)+" ("+beside+")")
		}
	}
	return out
}

// spare is the name for when all that can be made of the tenant's object are
// taken: nobody can have foreseen the GUID that the domain drew.
func spare(guid ID) string { return hex.EncodeToString(guid[:])[:maxUserSAM] }

// cut keeps the first n characters.
func cut(s string, n int) string {
	for i := range s {
		if n <= 0 {
			return strings.TrimSpace(s[:i])
		}
		n--
	}
	return s
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x = strings.TrimSpace(x); x != "" {
			return x
		}
	}
	return ""
}
