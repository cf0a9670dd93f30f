// Package guards takes guards out of the program, one at a time, and runs the
// test of each, which must fail: a test that passes without what it tests proves
// nothing (trust.md §B2, the negative control). Every row of §B2.1 to §B2.3 has its
// guards here, by its number, or a reason why it has none.
//
// The source stays as it is. The build gets an overlay in which each guard can
// be switched off by an environment variable.
package guards
