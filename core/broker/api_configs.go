package broker

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// DescribeConfigs, versions 1 to 4. 1 adds synonyms, 3 types and documentation, 4 is flexible.
func (s *Server) describeConfigs(cl *call, req *kmsg.DescribeConfigsRequest) {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		entries, err := s.configsOf(in.ResourceType, in.ResourceName)
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		for _, e := range entries {
			if in.ConfigNames == nil || slices.Contains(in.ConfigNames, e.Key) {
				out.Configs = append(out.Configs, describedConfig(e, req.IncludeSynonyms))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	cl.reply(resp)
}

func (s *Server) configsOf(kind kmsg.ConfigResourceType, name string) ([]meta.ConfigEntry, error) {
	image := s.opts.Controller.Image()
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := meta.CheckTopicName(name); err != nil {
			return nil, err
		}
		t := image.Topic(name)
		if t == nil {
			return nil, wrapped{meta.ErrUnknownTopic, "unknown topic " + name}
		}
		return s.opts.Controller.TopicConfig(image, t), nil
	case kmsg.ConfigResourceTypeBroker:
		id, err := s.brokerNamed(name)
		if err != nil {
			return nil, err
		}
		return s.opts.Controller.BrokerConfig(image, id), nil
	}
	return nil, wrapped{meta.ErrInvalidRequest, "no configs of resource type " + kind.String()}
}

// brokerNamed reads the name of a broker resource; the empty one is all brokers.
func (s *Server) brokerNamed(name string) (int32, error) {
	if name == "" {
		return meta.AllBrokers, nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || !slices.ContainsFunc(s.opts.Controller.Image().Brokers(), func(b meta.Broker) bool { return b.ID == int32(id) }) {
		return 0, wrapped{meta.ErrInvalidRequest, "there is no broker " + name}
	}
	return int32(id), nil
}

func describedConfig(e meta.ConfigEntry, synonyms bool) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.ReadOnly, out.IsSensitive = e.Key, e.ReadOnly, e.Sensitive
	out.Source, out.ConfigType, out.IsDefault = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Type), e.Source == meta.SourceDefault
	if !e.Null && !e.Sensitive {
		out.Value = &e.Value
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

// IncrementalAlterConfigs, versions 0 and 1 (KIP-339).
func (s *Server) incrementalAlterConfigs(cl *call, req *kmsg.IncrementalAlterConfigsRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	resp := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for i := range req.Resources {
		in := &req.Resources[i]
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		ops, err := configOps(in)
		if err == nil {
			switch in.ResourceType {
			case kmsg.ConfigResourceTypeTopic:
				err = s.opts.Controller.AlterTopicConfig(ctx, in.ResourceName, ops, req.ValidateOnly)
			case kmsg.ConfigResourceTypeBroker:
				var id int32
				if id, err = s.brokerNamed(in.ResourceName); err == nil {
					err = s.opts.Controller.AlterBrokerConfig(ctx, id, ops, req.ValidateOnly)
				}
			default:
				err = wrapped{meta.ErrInvalidRequest, "configs of resource type " + in.ResourceType.String() + " cannot be altered"}
			}
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), message(err)
		resp.Resources = append(resp.Resources, out)
	}
	cl.reply(resp)
}

func configOps(in *kmsg.IncrementalAlterConfigsRequestResource) ([]meta.ConfigOp, error) {
	var ops []meta.ConfigOp
	for _, c := range in.Configs {
		op := meta.ConfigOp{Key: c.Name, Op: meta.ConfigOpKind(c.Op)}
		if c.Value != nil {
			op.Value = *c.Value
		} else if op.Op != meta.OpDelete {
			return nil, wrapped{meta.ErrInvalidRequest, "null value for config " + c.Name}
		}
		ops = append(ops, op)
	}
	return ops, nil
}
