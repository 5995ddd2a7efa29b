package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/meta"
)

// DescribeUserScramCredentials, version 0 (KIP-554). No users are all users. Of a credential only its mechanism and iterations are told.
func (s *Server) describeUserScram(cl *call, req *kmsg.DescribeUserSCRAMCredentialsRequest) {
	image := s.opts.Controller.Image()
	users, asked := image.ScramUsers(), map[string]int{}
	if len(req.Users) > 0 {
		users = nil
		for _, u := range req.Users {
			users = append(users, u.Name)
			asked[u.Name]++
		}
		slices.Sort(users)
		users = slices.Compact(users)
	}
	resp := kmsg.NewPtrDescribeUserSCRAMCredentialsResponse()
	resp.ErrorMessage = new(string)
	for _, user := range users {
		out := kmsg.NewDescribeUserSCRAMCredentialsResponseResult()
		out.User = user
		var err error
		if asked[user] > 1 {
			err = wrapped{meta.ErrDuplicateResource, "Cannot describe SCRAM credentials for the same user twice in a single request: " + user}
		} else {
			out.CredentialInfos = scramInfos(image, user)
			if len(out.CredentialInfos) == 0 {
				err = wrapped{meta.ErrUnknownCredential, "Attempt to describe a user credential that does not exist: " + user}
			}
		}
		out.ErrorCode, out.ErrorMessage = int16(s.code(err)), described(err)
		resp.Results = append(resp.Results, out)
	}
	cl.reply(resp)
}

func scramInfos(image *meta.Image, user string) []kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo {
	var infos []kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo
	for _, m := range []meta.ScramMechanism{meta.ScramSHA256, meta.ScramSHA512} {
		if c := image.Scram(user, m); c != nil {
			info := kmsg.NewDescribeUserSCRAMCredentialsResponseResultCredentialInfo()
			info.Mechanism, info.Iterations = int8(m), c.Iterations
			infos = append(infos, info)
		}
	}
	return infos
}
