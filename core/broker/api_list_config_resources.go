package broker

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
	"github.com/milldam/milldam/core/wire"
)

// listsByType is the version of ListConfigResources that names types (KIP-1142); before, it is ListClientMetricsResources (KIP-714).
const listsByType = 1

// ListConfigResources, versions 0 and 1. No types are all types.
func (s *Server) listConfigResources(cl *call, req *kmsg.ListConfigResourcesRequest) {
	resp := kmsg.NewPtrListConfigResourcesResponse()
	types := []meta.ResourceType{meta.ResourceGroup, meta.ResourceClientMetrics, meta.ResourceLogger, meta.ResourceBroker, meta.ResourceTopic}
	if cl.header.Version < listsByType {
		types = []meta.ResourceType{meta.ResourceClientMetrics}
	} else if len(req.ResourceTypes) > 0 {
		types = nil
		for _, t := range req.ResourceTypes {
			types = append(types, meta.ResourceType(t))
		}
	}
	for _, t := range types {
		names, ok := s.resourcesOf(t)
		if !ok {
			resp.ErrorCode, resp.ConfigResources = int16(wire.UnsupportedVersion), nil
			break
		}
		for _, name := range names {
			r := kmsg.NewListConfigResourcesResponseConfigResource()
			r.Name, r.Type = name, int8(t)
			resp.ConfigResources = append(resp.ConfigResources, r)
		}
	}
	cl.reply(resp)
}

func (s *Server) resourcesOf(t meta.ResourceType) (names []string, ok bool) {
	image := s.opts.Controller.Image()
	switch t {
	case meta.ResourceTopic:
		for t := range image.Topics() {
			names = append(names, t.Name)
		}
	case meta.ResourceBroker, meta.ResourceLogger:
		for _, b := range image.Brokers() {
			names = append(names, strconv.Itoa(int(b.ID)))
		}
	case meta.ResourceGroup, meta.ResourceClientMetrics:
		for _, r := range image.Resources() {
			if r.Type == t {
				names = append(names, r.Name)
			}
		}
	default:
		return nil, false
	}
	return names, true
}
