// Package conformance runs real clients against the whole service: MIT's and
// Heimdal's Kerberos programs, OpenLDAP's, curl, and the skyrealm program itself.
// Its tests reach the service through its ports, its files and its command line
// alone; nothing of its insides is called.
//
// On a machine without a client its tests are skipped and say so; under
// CONFORMANCE=require, as ./test/all runs them, they fail.
package conformance
