import Client
import NIOCore

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Why a node has refused something.
enum ErrorText {
  private struct Refusal: Decodable { let error: String }

  static func of(_ answer: KVResponse) -> String {
    let refusal = try? JSONDecoder().decode(
      Refusal.self, from: Data(answer.body.readableBytesView))
    return refusal?.error ?? "the answer is \(answer.status)"
  }
}
