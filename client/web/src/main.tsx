import { render } from "preact";

import { App } from "./view/app";

const page = document.getElementById("page");
if (page !== null) render(<App />, page);
