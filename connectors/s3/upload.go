package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/milldam/milldam/connect"
)

const (
	// abortTimeout bounds the removal of an upload that failed.
	abortTimeout = 10 * time.Second
	// answerTimeout bounds the wait for the first byte of an answer, so that a connection that went dead is tried again and holds no task.
	answerTimeout = time.Minute
)

// newClient makes a client from the sink's configuration; what it leaves out comes from where the AWS SDK looks: environment, shared
// files, the machine's role.
func newClient(ctx context.Context, c Config) (*s3.Client, error) {
	// What goes wrong is an error of a call; the SDK's own lines would stand among our log's.
	opts := []func(*awsconfig.LoadOptions) error{awsconfig.WithLogger(logging.Nop{}), awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = answerTimeout
	}))}
	if c.Region != "" {
		opts = append(opts, awsconfig.WithRegion(c.Region))
	}
	if c.AccessKey != "" {
		opts = append(opts, awsconfig.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(string(c.AccessKey), string(c.SecretKey), "")))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, connect.Permanent(fmt.Errorf("load the AWS configuration: %w", err))
	}
	return s3.NewFromConfig(loaded, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		if o.Region == "" {
			o.Region = "us-east-1"
		}
		// Stores that are not AWS seldom take virtual hosts, and many refuse checksums sent as trailers.
		o.UsePathStyle = c.PathStyle || o.BaseEndpoint != nil
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// The worker tries again, with its own backoff and its own word in the log.
		o.Retryer = retry.AddWithMaxAttempts(retry.NewStandard(), 1)
	}), nil
}

// checkBucket asks for the bucket, so that a wrong name, endpoint or key is said at the start.
func (s *Sink) checkBucket(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.config.Bucket})
	return s.explain("look for bucket "+s.config.Bucket, err)
}

// put stores body at key, whole or not at all.
func (s *Sink) put(ctx context.Context, key string, body []byte) error {
	if len(body) > int(s.config.PartSize) {
		return s.explain("upload "+key, s.multipart(ctx, key, body))
	}
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &s.config.Bucket, Key: &key, Body: bytes.NewReader(body),
		ContentLength: aws.Int64(int64(len(body))), ContentType: aws.String(s.contentType())})
	return s.explain("put "+key, err)
}

// multipart uploads body in parts. An upload that fails is aborted, so that no parts are left to be paid for.
func (s *Sink) multipart(ctx context.Context, key string, body []byte) error {
	upload, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.config.Bucket, Key: &key,
		ContentType: aws.String(s.contentType())})
	if err != nil {
		return err
	}
	if aws.ToString(upload.UploadId) == "" {
		return errors.New("the answer names no upload: is it an S3 server?")
	}
	parts, err := s.uploadParts(ctx, key, *upload.UploadId, body)
	if err == nil {
		_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &s.config.Bucket, Key: &key,
			UploadId: upload.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}})
	}
	if err == nil {
		return nil
	}
	abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, aborted := s.client.AbortMultipartUpload(abort, &s3.AbortMultipartUploadInput{Bucket: &s.config.Bucket, Key: &key, UploadId: upload.UploadId})
	if aborted != nil {
		s.task.Logger.Warn("an upload is left unfinished; remove it, or let a lifecycle rule of the bucket do so", "key", key,
			"upload", *upload.UploadId, "error", aborted)
	}
	return err
}

func (s *Sink) uploadParts(ctx context.Context, key, upload string, body []byte) ([]types.CompletedPart, error) {
	var parts []types.CompletedPart
	for number := int32(1); len(body) > 0; number++ {
		part := body[:min(len(body), int(s.config.PartSize))]
		body = body[len(part):]
		done, err := s.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &s.config.Bucket, Key: &key, UploadId: &upload, PartNumber: &number,
			Body: bytes.NewReader(part), ContentLength: aws.Int64(int64(len(part)))})
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", number, err)
		}
		parts = append(parts, types.CompletedPart{ETag: done.ETag, PartNumber: aws.Int32(number)})
	}
	return parts, nil
}

// explain wraps the error of a request with what, where and what to do. What its owner must mend is permanent.
func (s *Sink) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	where := s.config.Endpoint
	if where == "" && s.client.Options().BaseEndpoint != nil {
		where = *s.client.Options().BaseEndpoint
	}
	if where == "" {
		where = "AWS, region " + s.client.Options().Region
	}
	what = fmt.Sprintf("%s on S3 (%s)", what, where)
	status, code := 0, ""
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	switch {
	case code == "RequestTimeTooSkewed":
		return fmt.Errorf("%s was refused (%d %s): this machine's clock is wrong; set it: %w", what, status, code, err)
	case code == "AuthorizationHeaderMalformed", code == "IllegalLocationConstraintException", status == http.StatusMovedPermanently:
		return connect.Permanent(fmt.Errorf("%s: the bucket is in another region: set sink.s3.region (%d %s)", what, status, code))
	case code == "InvalidBucketName", code == "KeyTooLongError", code == "InvalidArgument", code == "InvalidRequest", status == http.StatusNotImplemented:
		return connect.Permanent(fmt.Errorf("%s can never be done so: correct sink.s3: %w", what, err))
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return connect.Permanent(fmt.Errorf("%s was refused (%d %s): check access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may write to the bucket", what, status, code))
	case status == http.StatusNotFound && code != "NoSuchUpload":
		return connect.Permanent(fmt.Errorf("%s: there is no bucket %q (%d %s): make it, or correct sink.s3.bucket", what, s.config.Bucket, status, code))
	case status == 0 && strings.Contains(err.Error(), "failed to refresh cached credentials"):
		return connect.Permanent(fmt.Errorf("%s: no credentials: set access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: %w", what, err))
	case status == 0:
		return fmt.Errorf("%s: %w; is a server there? check sink.s3.endpoint, or AWS_ENDPOINT_URL_S3", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
