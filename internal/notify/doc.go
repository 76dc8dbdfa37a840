// Package notify hands events to a callback of the application: in order, one at a time, and outside all locks.
package notify
