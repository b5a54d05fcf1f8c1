import NIOCore

/// Requests for one key, and what their answers mean.
package enum KeyExchange {
  /// The target of a key's requests.
  ///
  /// - Throws: `KVClientError.badRequest` for an empty key.
  package static func target(_ key: [UInt8]) throws(KVClientError) -> String {
    guard !key.isEmpty else { throw .badRequest("the key is empty: every key has a byte at least") }
    return KeyTarget.path(key)
  }

  package static func put(
    _ target: String, _ value: [UInt8], if condition: KVCondition?, context: KVContext? = nil
  ) -> KVRequest {
    var request = KVRequest(.PUT, target, body: ByteBuffer(bytes: value))
    request.add(condition, context)
    return request
  }

  package static func delete(
    _ target: String, if condition: KVCondition?, context: KVContext? = nil
  ) -> KVRequest {
    var request = KVRequest(.DELETE, target)
    request.add(condition, context)
    return request
  }

  /// - Returns: nil when the key is absent.
  package static func entry(
    _ answer: KVResponse, _ node: NodeAddress
  ) throws(KVClientError) -> KVEntry? {
    switch answer.status {
    case 200:
      guard let etag = answer.etag else {
        throw .unexpectedAnswer(node, "the answer has no ETag")
      }
      return KVEntry(
        value: Array(answer.body.readableBytesView), version: try version(answer, node),
        etag: etag, context: answer.context)
    case 404: return nil
    default: throw refusal(answer, node)
    }
  }

  /// What a put has written.
  package static func written(
    _ answer: KVResponse, _ node: NodeAddress
  ) throws(KVClientError) -> KVWritten {
    guard answer.status == 200 || answer.status == 201 else { throw refusal(answer, node) }
    let version = try version(answer, node)
    guard let etag = answer.etag else { throw .unexpectedAnswer(node, "the answer has no ETag") }
    return KVWritten(version: version, etag: etag, context: answer.context)
  }

  /// - Returns: false when the key was absent already.
  package static func deleted(
    _ answer: KVResponse, _ node: NodeAddress
  ) throws(KVClientError) -> Bool {
    switch answer.status {
    case 200, 204: return true
    case 404: return false
    default: throw refusal(answer, node)
    }
  }

  package static func refusal(_ answer: KVResponse, _ node: NodeAddress) -> KVClientError {
    .refused(node, status: answer.status, message: RefusalText.text(answer.body))
  }

  package static func version(
    _ answer: KVResponse, _ node: NodeAddress
  ) throws(KVClientError) -> UInt64 {
    guard let version = answer.version else {
      throw .unexpectedAnswer(node, "the answer has no X-KV-Version")
    }
    return version
  }
}

extension KVRequest {
  fileprivate mutating func add(_ condition: KVCondition?, _ context: KVContext?) {
    if let (name, value) = condition?.header { headers.add(name: name, value: value) }
    if let context { headers.add(name: "X-KV-Context", value: "\(context)") }
  }
}
