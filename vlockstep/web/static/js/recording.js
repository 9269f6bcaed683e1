export class RecordingPage { title="x"; section="recordings"; draw(){} }
export class RecordingsPage { title="x"; section="recordings"; draw(){} }
