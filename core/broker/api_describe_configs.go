package broker

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// DescribeConfigs, versions 1 to 4. 1 adds synonyms (KIP-226), 3 types and documentation (KIP-569), 4 is flexible. No names at all are all names.
func (s *Server) describeConfigs(cl *call, req *kmsg.DescribeConfigsRequest) {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		entries, err := s.configsOf(meta.ResourceType(in.ResourceType), in.ResourceName)
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), described(err)
		for _, e := range entries {
			if len(in.ConfigNames) == 0 || slices.Contains(in.ConfigNames, e.Key) {
				out.Configs = append(out.Configs, describedConfig(e, req.IncludeSynonyms, req.IncludeDocumentation))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	cl.reply(resp)
}

// described is the message of the responses that have an empty one for success.
func described(err error) *string {
	if text := message(err); text != nil {
		return text
	}
	return new(string)
}

func (s *Server) configsOf(kind meta.ResourceType, name string) ([]meta.ConfigEntry, error) {
	image := s.opts.Controller.Image()
	switch kind {
	case meta.ResourceTopic:
		if err := meta.CheckTopicName(name); err != nil {
			return nil, err
		}
		t := image.Topic(name)
		if t == nil {
			return nil, wrapped{meta.ErrUnknownTopic, "unknown topic " + name}
		}
		return s.opts.Controller.TopicConfig(image, t), nil
	case meta.ResourceBroker:
		if name == "" {
			return s.opts.Controller.BrokerConfig(image, meta.AllBrokers), nil
		}
		if err := s.checkThisBroker(name); err != nil {
			return nil, err
		}
		return s.opts.Controller.BrokerConfig(image, s.opts.NodeID), nil
	case meta.ResourceLogger:
		if name == "" {
			return nil, wrapped{meta.ErrInvalidRequest, "Broker id must not be empty"}
		}
		if err := s.checkThisBroker(name); err != nil {
			return nil, err
		}
		return s.loggers(), nil
	case meta.ResourceGroup, meta.ResourceClientMetrics:
		if name == "" {
			return nil, wrapped{meta.ErrInvalidRequest, "the name of a group or a client metrics subscription must not be empty"}
		}
		return s.opts.Controller.ResourceConfig(image, meta.Resource{Type: kind, Name: name}), nil
	}
	return nil, wrapped{meta.ErrInvalidRequest, "no configs of resource type " + strconv.Itoa(int(kind))}
}

// checkThisBroker: the configs of a broker are described by itself.
func (s *Server) checkThisBroker(name string) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return wrapped{meta.ErrInvalidRequest, "Broker id must be an integer, but it is: " + name}
	}
	if int32(id) != s.opts.NodeID {
		return wrapped{meta.ErrInvalidRequest, "Unexpected broker id, expected " + strconv.Itoa(int(s.opts.NodeID)) + ", but received " + name}
	}
	return nil
}

func describedConfig(e meta.ConfigEntry, synonyms, documentation bool) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.ReadOnly, out.IsSensitive = e.Key, e.ReadOnly, e.Sensitive
	out.Source, out.ConfigType, out.IsDefault = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Type), e.Source == meta.SourceDefault
	if !e.Null && !e.Sensitive {
		out.Value = &e.Value
	}
	if documentation {
		text := meta.ConfigDocumentation(e.Key)
		out.Documentation = &text
	}
	if !synonyms {
		return out
	}
	for _, y := range e.Synonyms {
		c := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		c.Name, c.Source = y.Key, kmsg.ConfigSource(y.Source)
		if !e.Sensitive {
			c.Value = &y.Value
		}
		out.ConfigSynonyms = append(out.ConfigSynonyms, c)
	}
	return out
}
