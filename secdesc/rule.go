package secdesc

import "skyrealm/sid"

// Rules decide on one right, in the order of the list that they were made of.
type Rules []Rule

// Rule lets those who hold a SID do something, or forbids it to them.
type Rule struct {
	SID  sid.SID
	Deny bool
}

// Rules returns what the descriptor says of one right (a single bit of a mask),
// so that a check is a walk over SIDs: with one bit asked for, the first entry
// that is about the asker and the bit decides ([MS-DTYP] §2.5.3.2).
//
// What an entry makes hang on something that nobody evaluates here (a condition
// on claims, one property of the object) grants nothing, and forbids always.
//
// DIVERGES: where the list is missing or NULL, Windows lets everybody; these
// rules let nobody (CVE-2024-2698 was an empty list that meant all).
func (d *Descriptor) Rules(right uint32) Rules {
	if d.DACL == nil {
		return nil
	}
	var rules Rules
	for i := range d.DACL.Entries {
		e := &d.DACL.Entries[i]
		mask := e.Mask
		if mask&GenericAll != 0 {
			mask |= FullControl
		}
		if e.Flags&InheritOnly != 0 || mask&right == 0 {
			continue
		}
		switch e.Type {
		case Allow:
			rules = append(rules, Rule{SID: e.SID})
		case AllowObject:
			if e.ObjectFlags&objectTypePresent == 0 {
				rules = append(rules, Rule{SID: e.SID})
			}
		case Deny, DenyObject, DenyCallback, DenyCallbackObject:
			rules = append(rules, Rule{SID: e.SID, Deny: true})
		}
	}
	return rules
}

// Allow reports whether one who holds the SIDs that holds says may do it.
func (r Rules) Allow(holds func(sid.SID) bool) bool {
	for _, rule := range r {
		if holds(rule.SID) {
			return !rule.Deny
		}
	}
	return false
}
