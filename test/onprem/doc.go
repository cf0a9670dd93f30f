// Package onprem holds the test of the sync agent against a real on-premises
// directory: a Samba AD domain controller, provisioned in a temporary directory
// and run in a network namespace of its own, with skyrealm serve as the cloud.
// What people do on premises (samba-tool, LDAP) has to be what MIT's kinit and
// OpenLDAP's clients see in the managed domain one agent cycle later.
//
// It needs root, for the namespace. Where Samba or root are missing the test is
// skipped and says so; under CONFORMANCE=require it fails.
package onprem
