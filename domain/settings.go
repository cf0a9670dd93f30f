package domain

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are the parts of an account that few have: when and from where it may
// sign in, and where a Windows machine finds its profile. Synced users have none,
// as the real service syncs none (EDS/synchronization); accounts that are made in
// the domain may.
type Settings struct {
	Expires      time.Time // zero: never
	Hours        []byte    // 21 bytes, a bit for each hour of the week from Sunday 00:00 UTC ([MS-ADA1] logonHours); nil: always
	Workstations []string  // NetBIOS names; nil: any

	HomeDirectory, HomeDrive, ProfilePath, ScriptPath string
}

// Refuses returns AccountExpired, OutOfHours or NotFromThere, or 0. workstation
// is "" where the client does not say; it can say what it likes.
func (s *Settings) Refuses(now time.Time, workstation string) Refusal {
	switch {
	case s == nil:
		return 0
	case s.Expired(now):
		return AccountExpired
	case s.Hours != nil && !s.allowed(now.UTC()):
		return OutOfHours
	case s.Workstations != nil && !slices.ContainsFunc(s.Workstations, func(w string) bool { return strings.EqualFold(w, workstation) }):
		return NotFromThere
	}
	return 0
}

// Expired reports whether the account has ended.
func (s *Settings) Expired(now time.Time) bool {
	return s != nil && !s.Expires.IsZero() && !now.Before(s.Expires)
}

// Until returns when the account may be signed in no longer: with the next hour
// that is not its own, or with the account. The zero time is never.
func (s *Settings) Until(now time.Time) time.Time {
	if s.Hours != nil {
		hour := now.UTC().Truncate(time.Hour)
		for range 7 * 24 {
			if !s.allowed(hour) {
				if s.Expires.IsZero() || hour.Before(s.Expires) {
					return hour
				}
				break
			}
			hour = hour.Add(time.Hour)
		}
	}
	return s.Expires
}

func (s *Settings) allowed(now time.Time) bool {
	hour := int(now.Weekday())*24 + now.Hour()
	return s.Hours[hour/8]&(1<<(hour%8)) != 0
}

// settingsOf returns nil for an account that has none.
func settingsOf(attrs map[string][][]byte) *Settings {
	var s Settings
	found := false
	text := func(name string) string {
		if v := attrs[name]; len(v) > 0 && len(v[0]) > 0 {
			found = true
			return string(v[0])
		}
		return ""
	}
	if t, err := strconv.ParseInt(text("accountExpires"), 10, 64); err == nil {
		s.Expires = fileTime(t)
	}
	if h := attrs["logonHours"]; len(h) == 1 && len(h[0]) == hoursLen {
		s.Hours, found = h[0], true
	}
	for _, w := range strings.Split(text("userWorkstations"), ",") {
		if w = strings.TrimSpace(w); w != "" {
			s.Workstations = append(s.Workstations, w)
		}
	}
	s.HomeDirectory, s.HomeDrive = text("homeDirectory"), text("homeDrive")
	s.ProfilePath, s.ScriptPath = text("profilePath"), text("scriptPath")
	if !found {
		return nil
	}
	return &s
}

const hoursLen = 7 * 24 / 8

// fileTime is the inverse of FileTime; 0 and what lies beyond the year 9999 are
// never ([MS-ADA1] accountExpires).
func fileTime(n int64) time.Time {
	t := time.Unix(n/1e7-11644473600, n%1e7*100).UTC()
	if n <= 0 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

// checkSetting refuses values of the attributes above that mean nothing.
func checkSetting(name string, values [][]byte) error {
	for _, v := range values {
		switch name {
		case "accountExpires":
			if n, err := strconv.ParseInt(string(v), 10, 64); err != nil || n < 0 {
				return &ConstraintError{name, "it is a time, 0 for never"}
			}
		case "logonHours":
			if len(v) != hoursLen {
				return &ConstraintError{name, "it has a bit for each hour of the week"}
			}
		}
	}
	return nil
}
