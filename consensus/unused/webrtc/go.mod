module github.com/pion/webrtc/v4

go 1.26.0

require (
	github.com/pion/datachannel v1.5.10
	github.com/pion/ice/v4 v4.0.10
	github.com/pion/logging v0.2.4
)
