package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/wire"
)

// Types of endpoints that DescribeCluster asks for.
const (
	brokerEndpoint     = 1
	controllerEndpoint = 2
)

// DescribeCluster, versions 0 to 2 (KIP-700). 1 says which kind of endpoint is meant (KIP-919), 2 can have fenced brokers, of which there are none.
func (s *Server) describeCluster(cl *call, req *kmsg.DescribeClusterRequest) {
	resp := kmsg.NewPtrDescribeClusterResponse()
	fail := func(code wire.Code, text string) {
		resp.ErrorCode, resp.ErrorMessage, resp.ControllerID = int16(code), &text, -1
		cl.reply(resp)
	}
	if cl.header.Version > 0 && req.EndpointType != brokerEndpoint {
		if req.EndpointType == controllerEndpoint {
			fail(wire.MismatchedEndpointType, "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER")
			return
		}
		fail(wire.UnsupportedEndpointType, fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType))
		return
	}
	image := s.opts.Controller.Image()
	resp.ClusterID, resp.ControllerID = image.ClusterID(), image.Controller()
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	for _, b := range image.Brokers() {
		out := kmsg.NewDescribeClusterResponseBroker()
		out.NodeID = b.ID
		out.Host, out.Port = cl.addressOf(b)
		if b.Rack != "" {
			out.Rack = &b.Rack
		}
		resp.Brokers = append(resp.Brokers, out)
	}
	cl.reply(resp)
}
