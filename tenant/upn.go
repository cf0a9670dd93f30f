package tenant

import "strings"

// Lengths of a user principal name (§F of the wire reference).
const (
	maxUPNPrefix = 64
	maxUPNSuffix = 48
)

// splitUPN cuts a UPN at its last @. ok is false for text that can't be one.
func splitUPN(upn string) (prefix, suffix string, ok bool) {
	at := strings.LastIndexByte(upn, '@')
	if at < 1 || at == len(upn)-1 {
		return "", "", false
	}
	prefix, suffix = upn[:at], upn[at+1:]
	return prefix, suffix, len(prefix) <= maxUPNPrefix && len(suffix) <= maxUPNSuffix && upnText(prefix) && domainText(suffix)
}

func upnText(s string) bool {
	for _, c := range []byte(s) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("'.-_!#^~", c) < 0 {
			return false
		}
	}
	return s[0] != '.' && s[len(s)-1] != '.'
}

func domainText(s string) bool {
	for _, label := range strings.Split(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-'; !letter {
				return false
			}
		}
	}
	return true
}

func (s *Settings) verified(suffix string) bool {
	if strings.EqualFold(suffix, s.InitialDomain) {
		return true
	}
	for _, d := range s.VerifiedDomains {
		if strings.EqualFold(d, suffix) {
			return true
		}
	}
	return false
}

// settleUPN gives the sign-in name of a synced user: the on-premises one where
// its suffix is verified, else mailNickname@initial domain
// (EHC/plan-connect-userprincipalname).
func (s *Settings) settleUPN(o *Object, wanted string) (string, bool) {
	prefix, suffix, ok := splitUPN(wanted)
	if ok && s.verified(suffix) {
		return wanted, true
	}
	if nick := nickname(o, prefix); nick != "" {
		upn := nick + "@" + s.InitialDomain
		_, _, ok = splitUPN(upn)
		return upn, ok
	}
	return "", false
}

// nickname is the first there is of: mailNickname, the prefix of the primary
// SMTP address, of mail, of the UPN.
func nickname(o *Object, upnPrefix string) string {
	before := func(s string) string { p, _, _ := strings.Cut(s, "@"); return p }
	if o.Profile.MailNickname != "" {
		return o.Profile.MailNickname
	}
	for _, a := range o.Profile.ProxyAddresses {
		if rest, ok := strings.CutPrefix(a, "SMTP:"); ok {
			return before(rest)
		}
	}
	if o.Profile.Mail != "" {
		return before(o.Profile.Mail)
	}
	return upnPrefix
}
