// Package connect
package connect
