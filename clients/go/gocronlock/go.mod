module github.com/lockbroker/lockbroker/clients/go/gocronlock

go 1.25.0

replace github.com/lockbroker/lockbroker/clients/go => ..

require (
	github.com/go-co-op/gocron/v2 v2.21.2
	github.com/lockbroker/lockbroker/clients/go v0.1.0
)

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/jonboulle/clockwork v0.5.0 // indirect
	github.com/robfig/cron/v3 v3.0.1 // indirect
	golang.org/x/net v0.51.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
	golang.org/x/text v0.34.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260226221140-a57be14db171 // indirect
	google.golang.org/grpc v1.81.1 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
