#include "status.hpp"

#include <gtest/gtest.h>

#include <string>

#include "leyden/status_details/error_details.pb.h"
#include "leyden/status_details/status.pb.h"

namespace leyden::detail {
namespace {

template <typename Detail>
void add(status_details::Status& details, const std::string& name, const Detail& detail) {
  auto& any = *details.add_details();
  any.set_type_url("type.googleapis.com/google.rpc." + name);
  any.set_value(detail.SerializeAsString());
}

grpc::Status status_of(grpc::StatusCode code, const std::string& reason) {
  status_details::Status details;
  status_details::ErrorInfo info;
  info.set_reason(reason);
  (*info.mutable_metadata())["error_id"] = "e1";
  add(details, "ErrorInfo", info);
  status_details::BadRequest request;
  auto& violation = *request.add_field_violations();
  violation.set_field("width_px");
  violation.set_description("a multiple of 8");
  add(details, "BadRequest", request);
  status_details::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  add(details, "RetryInfo", retry);
  return {code, "it failed", details.SerializeAsString()};
}

TEST(Status, HasTheDetails) {
  try {
    throw_unless_ok(status_of(grpc::StatusCode::INVALID_ARGUMENT, "INVALID_FIELD"));
    FAIL();
  } catch (const InvalidArgumentError& error) {
    EXPECT_EQ(error.code(), StatusCode::invalid_argument);
    EXPECT_EQ(error.reason(), "INVALID_FIELD");
    EXPECT_EQ(error.message(), "it failed");
    EXPECT_EQ(error.violations().at(0).field, "width_px");
    EXPECT_EQ(error.retry_after(), Seconds(1.5));
    EXPECT_STREQ(error.what(), "it failed\n  width_px: a multiple of 8");
  }
}

TEST(Status, ThatIsOkThrowsNothing) { throw_unless_ok(grpc::Status::OK); }

TEST(Status, GoesByTheReasonBeforeTheCode) {
  using grpc::StatusCode::FAILED_PRECONDITION;
  using grpc::StatusCode::NOT_FOUND;
  using grpc::StatusCode::RESOURCE_EXHAUSTED;
  EXPECT_THROW(throw_unless_ok(status_of(NOT_FOUND, "GENERATION_NOT_FOUND")),
               GenerationNotFoundError);
  EXPECT_THROW(throw_unless_ok(status_of(FAILED_PRECONDITION, "MODEL_LOAD_FAILED")),
               ModelLoadError);
  EXPECT_THROW(throw_unless_ok(status_of(RESOURCE_EXHAUSTED, "READER_TOO_SLOW")),
               ReaderTooSlowError);
  EXPECT_THROW(throw_unless_ok(status_of(RESOURCE_EXHAUSTED, "QUEUE_FULL")), OverloadedError);
}

TEST(Status, KnowsAMessageOverTheLimit) {
  const std::string message = "Received message larger than max (5242887 vs. 4194304)";
  EXPECT_THROW(throw_unless_ok({grpc::StatusCode::RESOURCE_EXHAUSTED, message}),
               MessageTooLargeError);
}

TEST(Status, WithoutReadableDetailsHasCodeAndMessage) {
  try {
    throw_unless_ok({grpc::StatusCode::INTERNAL, "a proxy's", "\xff\xff"});
    FAIL();
  } catch (const InternalError& error) {
    EXPECT_EQ(error.message(), "a proxy's");
    EXPECT_EQ(error.reason(), "");
    EXPECT_EQ(error.error_id(), "");
    EXPECT_FALSE(error.retry_after());
  }
}

TEST(Status, OfAnotherCodeIsAPlainError) {
  try {
    throw_unless_ok({grpc::StatusCode::ABORTED, ""});
    FAIL();
  } catch (const RpcError& error) {
    EXPECT_EQ(error.message(), "ABORTED");
    EXPECT_EQ(to_string(error.code()), "ABORTED");
  }
}

}  // namespace
}  // namespace leyden::detail
