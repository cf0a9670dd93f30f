package store

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5/etype"
)

// secretsText is what stands, encrypted, in domain.object.secrets.
type secretsText struct {
	Current  *legacyText  `json:"current,omitempty"`
	Previous *legacyText  `json:"previous,omitempty"`
	History  []legacyText `json:"history,omitempty"`
	KVNO     uint32       `json:"kvno"`
	Version  int64        `json:"version,omitempty"`
	Set      int64        `json:"set,omitempty"` // microseconds since 1970, 0: never
}

type legacyText struct {
	NT   []byte    `json:"nt,omitempty"`
	Keys []keyText `json:"keys,omitempty"`
}

type keyText struct {
	Type       int32  `json:"etype"`
	Key        []byte `json:"key"`
	Salt       string `json:"salt,omitempty"`
	Iterations uint32 `json:"iterations,omitempty"`
	KVNO       uint32 `json:"kvno,omitempty"`
}

// secretsPlace binds a record's secrets to its USN: they are encrypted anew at each
// write, so those of an earlier state don't open in a later row.
func secretsPlace(name string, r *domain.Record) cred.Place {
	return cred.Place{Tenant: name, Object: r.GUID.String(), Column: "secrets", Version: int64(r.USN)}
}

// sealSecrets encrypts the secrets of a record; nil where it has none.
func sealSecrets(ring *cred.Ring, name string, r *domain.Record, rand io.Reader) ([]byte, error) {
	s := &r.Secrets
	text := secretsText{Current: legacyToText(s.Current), Previous: legacyToText(s.Previous), KVNO: s.KVNO, Version: s.Version}
	if !s.Set.IsZero() {
		text.Set = s.Set.UnixMicro()
	}
	for _, l := range s.History {
		if t := legacyToText(l); t != nil {
			text.History = append(text.History, *t)
		}
	}
	if text.Current == nil && text.Previous == nil && text.History == nil && text.KVNO == 0 && text.Version == 0 && text.Set == 0 {
		return nil, nil
	}
	plain, err := json.Marshal(text)
	if err != nil {
		return nil, fmt.Errorf("store: secrets of %s: %w", r.GUID, err)
	}
	defer clear(plain)
	sealed, err := ring.Seal(nil, plain, secretsPlace(name, r), rand)
	if err != nil {
		return nil, fmt.Errorf("store: secrets of %s: %w", r.GUID, err)
	}
	return sealed, nil
}

func legacyToText(l cred.Legacy) *legacyText {
	if l.IsZero() {
		return nil
	}
	t := new(legacyText)
	if !l.NT.IsZero() {
		t.NT = l.NT.Expose()
	}
	for _, k := range l.Keys {
		t.Keys = append(t.Keys, keyText{int32(k.Key.ID()), k.Key.Expose(), k.Salt, k.Iterations, k.KVNO})
	}
	return t
}

// openSecrets decrypts a record's secrets: all of them, or none and ErrCorrupt.
func openSecrets(ring *cred.Ring, name string, r *domain.Record, sealed []byte) (s domain.Secrets, err error) {
	plain, err := ring.Open(nil, sealed, secretsPlace(name, r))
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer clear(plain)
	var text secretsText
	if json.Unmarshal(plain, &text) != nil {
		return s, ErrCorrupt
	}
	s = domain.Secrets{KVNO: text.KVNO, Version: text.Version}
	if text.Set != 0 {
		s.Set = time.UnixMicro(text.Set).UTC()
	}
	if s.Current, err = textToLegacy(text.Current); err != nil {
		return domain.Secrets{}, ErrCorrupt
	}
	if s.Previous, err = textToLegacy(text.Previous); err != nil {
		return domain.Secrets{}, ErrCorrupt
	}
	for i := range text.History {
		l, err := textToLegacy(&text.History[i])
		if err != nil {
			return domain.Secrets{}, ErrCorrupt
		}
		s.History = append(s.History, l)
	}
	return s, nil
}

func textToLegacy(t *legacyText) (l cred.Legacy, err error) {
	if t == nil {
		return l, nil
	}
	if t.NT != nil {
		if l.NT, err = cred.ParseNTHash(t.NT); err != nil {
			return l, err
		}
	}
	if len(t.Keys) > 0 {
		l.Keys = make([]cred.KerberosKey, 0, len(t.Keys)) // no more room than they need
	}
	for _, k := range t.Keys {
		key, err := etype.NewKey(etype.ID(k.Type), k.Key)
		if err != nil {
			return l, err
		}
		if n := len(l.Keys); n > 0 && l.Keys[n-1].Salt == k.Salt {
			k.Salt = l.Keys[n-1].Salt // the same memory: there may be a million of them
		}
		l.Keys = append(l.Keys, cred.KerberosKey{Key: key, Salt: k.Salt, Iterations: k.Iterations, KVNO: k.KVNO})
	}
	return l, nil
}
