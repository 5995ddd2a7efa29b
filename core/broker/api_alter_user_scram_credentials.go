package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// AlterUserScramCredentials, version 0 (KIP-554). All of a user's alterations are made or none; the password itself never comes.
func (s *Server) alterUserScram(cl *call, req *kmsg.AlterUserSCRAMCredentialsRequest) {
	ctx, cancel := s.within(0)
	defer cancel()
	var list []meta.ScramAlteration
	var users []string
	for _, d := range req.Deletions {
		list, users = append(list, meta.ScramAlteration{User: d.Name, Mechanism: meta.ScramMechanism(d.Mechanism), Delete: true}), append(users, d.Name)
	}
	for _, u := range req.Upsertions {
		list = append(list, meta.ScramAlteration{User: u.Name, Mechanism: meta.ScramMechanism(u.Mechanism), Iterations: u.Iterations, Salt: slices.Clone(u.Salt),
			SaltedPassword: u.SaltedPassword})
		users = append(users, u.Name)
	}
	failed, err := s.opts.Controller.AlterScram(ctx, list)
	resp := kmsg.NewPtrAlterUserSCRAMCredentialsResponse()
	answered := map[string]bool{}
	for _, user := range users {
		if answered[user] {
			continue
		}
		answered[user] = true
		out := kmsg.NewAlterUserSCRAMCredentialsResponseResult()
		out.User = user
		why := failed[user]
		if why == nil {
			why = err
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(why)), message(why)
		resp.Results = append(resp.Results, out)
	}
	cl.reply(resp)
}
