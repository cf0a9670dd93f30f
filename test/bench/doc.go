// Package bench measures the whole service beside named baselines, in one run
// each: README.md has the figures and how to get them again.
package bench
