try{let t=localStorage.getItem("portcullis.theme");(t==="light"||t==="dark")&&(document.documentElement.dataset.theme=t)}catch{}
