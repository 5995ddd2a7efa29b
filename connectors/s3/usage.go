package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Usage counts the objects of c's bucket whose keys begin with prefix, and their bytes.
func Usage(ctx context.Context, c Config, prefix string) (objects, size int64, err error) {
	client, err := newClient(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	s := &Sink{config: c, client: client}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &c.Bucket, Prefix: &prefix},
		func(o *s3.ListObjectsV2PaginatorOptions) { o.StopOnDuplicateToken = true })
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, 0, s.explain("list "+c.Bucket+"/"+prefix, err)
		}
		for _, o := range page.Contents {
			objects++
			size += aws.ToInt64(o.Size)
		}
	}
	return objects, size, nil
}
