// Package test holds the tests of the whole: the rules of the house, which
// layers_test.go keeps, and in the directories below it the service under real
// clients. `./test/all` runs everything with nothing skipped.
package test
