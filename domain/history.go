package domain

import "skyrealm/cred"

// historyLength is how many passwords before the present one are known again: a
// person's other devices go on trying the last for a while, and whoever knows it
// guesses at nothing ([MS-SAMR] calls it the N-2 check).
const historyLength = 2

// replaced returns the secrets' history once their present password is another's
// predecessor.
func (s *Secrets) replaced() []cred.Legacy {
	if s.Current.IsZero() {
		return s.History
	}
	h := make([]cred.Legacy, 1, historyLength)
	h[0] = s.Current
	return append(h, s.History[:min(len(s.History), historyLength-1)]...)
}

// WasPassword reports whether an NT hash is that of one of the last passwords.
func (s *AccountSecrets) WasPassword(nt cred.NTHash) bool {
	was := false
	for i := range s.History {
		was = s.History[i].NT.Equal(nt) && !nt.IsZero() || was
	}
	return was
}
