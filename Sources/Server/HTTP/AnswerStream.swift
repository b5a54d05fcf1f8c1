/// An answer that is sent piece by piece, as fast as the client takes it. Belongs to the event loop of
/// its lane, and ends with the connection.
protocol AnswerStream: AnyObject {
  /// What the head says is to follow; nil where nobody knows.
  var bodyBytes: Int? { get }
  /// What the head says besides.
  var fields: [(name: String, value: String)] { get }
  /// The head is sent, or the client has taken something.
  func goOn()
  /// The node is about to stop.
  func end()
  /// The client has ended its side.
  func clientEnded()
  /// The lane's deadline has passed.
  func timeOut()
  /// Gives up everything that it holds; the connection is gone, or about to go.
  func close()
}

extension AnswerStream {
  var bodyBytes: Int? { nil }
  var fields: [(name: String, value: String)] { [] }
}
